using System.IO.Pipelines;
using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Tunnel.Forwarding;

namespace Gateway.Listeners;

/// <summary>
/// Connects a client to the server in the same process, by pipes: no port and no file, so that nobody else reaches it and a
/// read-only file system is enough.
/// </summary>
internal sealed class InProcessTransport : IConnectionListenerFactory, IConnectionListener
{
    private readonly Channel<ConnectionContext> _connections = Channel.CreateUnbounded<ConnectionContext>();

    /// <summary>What the server is told to listen on.</summary>
    public EndPoint EndPoint { get; } = new OwnProcess();

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) => ValueTask.FromResult<IConnectionListener>(this);

    /// <summary>Opens a connection.</summary>
    /// <returns>The client's end.</returns>
    public Stream Connect()
    {
        var (toServer, toClient) = (new Pipe(), new Pipe());
        var server = new ServerConnection(Guid.NewGuid().ToString("N"), new Ends(toServer.Reader, toClient.Writer), new Ends(toClient.Reader, toServer.Writer)) { LocalEndPoint = EndPoint };
        return _connections.Writer.TryWrite(server) ? new ClientStream(toClient.Reader.AsStream(), toServer.Writer.AsStream()) : throw new IOException("The server in this process has stopped.");
    }

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
        await _connections.Reader.WaitToReadAsync(cancellationToken) ? await _connections.Reader.ReadAsync(cancellationToken) : null;

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _connections.Writer.TryComplete();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => UnbindAsync();

    private sealed class OwnProcess : EndPoint
    {
        public override string ToString() => "this process";
    }

    private sealed record Ends(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    private sealed class ClientStream(Stream input, Stream output) : AsyncStream
    {
        public override bool CanRead => true;

        public override bool CanWrite => true;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => input.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => output.WriteAsync(buffer, cancellationToken);

        public override Task FlushAsync(CancellationToken cancellationToken) => output.FlushAsync(cancellationToken);

        protected override void Dispose(bool disposing)
        {
            input.Dispose();
            output.Dispose();
            base.Dispose(disposing);
        }
    }
}
