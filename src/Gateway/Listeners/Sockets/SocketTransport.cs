using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace Gateway.Listeners.Sockets;

/// <summary>
/// Accepts connections for the server, which is told of each when it is known who comes (<see cref="Reception"/>). Addresses
/// that are no door are left to the platform's own transport, which makes a connection of the server of every socket at once.
/// </summary>
internal sealed partial class SocketTransport(Reception reception, TimeProvider time, ILogger<SocketTransport> logger) : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    /// <summary>Connections that the kernel may have ready; it takes no more than its own limit (net.core.somaxconn).</summary>
    private const int MostBacklog = 65_535;

    // From linux/tcp.h; the platform has no name for it.
    private const int IpProtoTcp = 6;
    private const int TcpDeferAccept = 9;

    private static readonly TimeSpan PauseWithoutFiles = TimeSpan.FromMilliseconds(100);

    // By reference: two doors may be at port 0 of one address.
    private readonly Dictionary<EndPoint, Door> _doors = new(ReferenceEqualityComparer.Instance);

    /// <summary>Makes a door of an address.</summary>
    /// <param name="endpoint">The very object that the server binds.</param>
    /// <param name="door">What is behind it.</param>
    public void Add(EndPoint endpoint, Door door) => _doors.Add(endpoint, door);

    public bool CanBind(EndPoint endpoint) => _doors.ContainsKey(endpoint);

    /// <exception cref="AddressInUseException">Somebody listens there.</exception>
    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        var options = new SocketTransportOptions();
        try
        {
            var socket = options.CreateBoundListenSocket(endpoint);
            DeferAccept(socket);
            socket.Listen(MostBacklog);
            return ValueTask.FromResult<IConnectionListener>(new Listener(socket, _doors[endpoint], reception, time, logger));
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            throw new AddressInUseException(exception.Message, exception);
        }
    }

    /// <summary>Clients speak first here: the kernel keeps a connection to itself until they do, for a second or two.</summary>
    private static void DeferAccept(Socket socket)
    {
        if (OperatingSystem.IsLinux() && socket.ProtocolType == ProtocolType.Tcp)
        {
            Span<byte> seconds = stackalloc byte[sizeof(int)];
            BinaryPrimitives.WriteInt32LittleEndian(seconds, 1);
            socket.SetRawSocketOption(IpProtoTcp, TcpDeferAccept, seconds);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "A connection cannot be accepted: the process has as many files open as it may (ulimit -n)")]
    private static partial void LogNoFiles(ILogger logger);

    private sealed class Listener : IConnectionListener
    {
        private readonly Socket _socket;
        private readonly Channel<ConnectionContext> _received = Channel.CreateUnbounded<ConnectionContext>();
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _accepting;

        public Listener(Socket socket, Door door, Reception reception, TimeProvider time, ILogger logger)
        {
            _socket = socket;
            EndPoint = socket.LocalEndPoint!;
            _accepting = AcceptAllAsync(door, reception, time, logger);
        }

        public EndPoint EndPoint { get; }

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
            await _received.Reader.WaitToReadAsync(cancellationToken) ? await _received.Reader.ReadAsync(cancellationToken) : null;

        public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
        {
            await _stop.CancelAsync();
            _socket.Dispose();
            await _accepting;
            _received.Writer.TryComplete();
        }

        public async ValueTask DisposeAsync()
        {
            await UnbindAsync(CancellationToken.None);
            while (_received.Reader.TryRead(out var connection))
            {
                await connection.DisposeAsync();
            }
        }

        private async Task AcceptAllAsync(Door door, Reception reception, TimeProvider time, ILogger logger)
        {
            await Task.Yield();
            while (!_stop.IsCancellationRequested)
            {
                try
                {
                    _ = reception.ReceiveAsync(await _socket.AcceptAsync(), door, _received.Writer, _stop.Token);
                }
                catch (SocketException exception) when (exception.SocketErrorCode == SocketError.TooManyOpenSockets)
                {
                    LogNoFiles(logger);
                    await Task.Delay(PauseWithoutFiles, time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                }
                catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
                {
                    // A client has gone before it was accepted, or the server stops.
                }
            }
        }
    }
}
