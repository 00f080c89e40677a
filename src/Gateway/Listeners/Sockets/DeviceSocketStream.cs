using System.Net.Sockets;

namespace Gateway.Listeners.Sockets;

/// <summary>
/// A device's socket as a stream. The platform's socket keeps what it once needed for as long as it lives, and a tunnel lives long: the
/// last token that it was read with and that token's source, and from the first write on what one that has to wait needs, 0.6 KB together.
/// </summary>
internal sealed class DeviceSocketStream : NetworkStream
{
    /// <param name="socket">Connected; the stream owns it.</param>
    public DeviceSocketStream(Socket socket)
        : base(socket, ownsSocket: true)
    {
        socket.Blocking = false; // concerns Send alone: what is asynchronous waits in any case
    }

    /// <inheritdoc/>
    /// <remarks>To cancel it closes the socket: who does so wants the connection's end.</remarks>
    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        cancellationToken.CanBeCanceled ? ReadOrCloseAsync(buffer, cancellationToken) : base.ReadAsync(buffer, cancellationToken);

    /// <inheritdoc/>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var sent = Socket.Send(buffer.Span, SocketFlags.None, out _); // 0 with an error, which the rest meets again
        return sent == buffer.Length ? ValueTask.CompletedTask : base.WriteAsync(buffer[sent..], cancellationToken);
    }

    private async ValueTask<int> ReadOrCloseAsync(Memory<byte> buffer, CancellationToken cancellationToken)
    {
        await using var closing = Socket.CloseAt(cancellationToken);
        try
        {
            return await base.ReadAsync(buffer, CancellationToken.None);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException && cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException(exception.Message, exception, cancellationToken);
        }
    }
}
