using System.Buffers;
using System.Net.Sockets;
using Gateway.Limits;

namespace Gateway.Listeners.Sockets;

/// <summary>What a client says first, looked at while it stays in the socket: whoever gets the connection reads it again.</summary>
internal static class FirstBytes
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(250);

    /// <returns>Whether the bytes are what is looked for; null when more of them are needed to say so.</returns>
    public delegate bool? Parser<T>(ReadOnlySpan<byte> bytes, out T value);

    /// <summary>Waits, without a buffer, until there are enough bytes; as a rule they are there already.</summary>
    /// <param name="socket">Of which nobody else reads; closed when it says nothing in time.</param>
    /// <param name="most">Bytes that are looked at; who needs more has not what is looked for.</param>
    /// <param name="parser">Decides.</param>
    /// <param name="patience">The longest wait.</param>
    /// <param name="time">The clock.</param>
    /// <param name="stop">Ends the waiting.</param>
    /// <returns>What the parser said; null when the client has gone.</returns>
    /// <exception cref="SocketException">The connection broke.</exception>
    /// <exception cref="OperationCanceledException">The client was too slow.</exception>
    public static ValueTask<(bool? IsFound, T Value)> PeekAsync<T>(
        Socket socket, int most, Parser<T> parser, TimeSpan patience, TimeProvider time, CancellationToken stop)
    {
        if (socket.Available > 0)
        {
            var (isGone, isFound) = Peek(socket, most, parser, out var value);
            if (isGone || isFound is not null)
            {
                return ValueTask.FromResult((isFound, value));
            }
        }

        return WaitAsync(socket, most, parser, patience, time, stop);
    }

    private static async ValueTask<(bool? IsFound, T Value)> WaitAsync<T>(
        Socket socket, int most, Parser<T> parser, TimeSpan patience, TimeProvider time, CancellationToken stop)
    {
        using var late = new CancellationTokenSource(patience, time);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, late.Token);
        try
        {
            await using var closing = socket.CloseAt(end.Token);
            _ = await socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.None, CancellationToken.None);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException && end.IsCancellationRequested)
        {
            throw new OperationCanceledException("The client was too slow.", exception, end.Token);
        }

        // Too late by a moment, which has closed the socket.
        end.Token.ThrowIfCancellationRequested();

        // A kernel has no way to wait for more than what it has shown; the rest of one flight is as a rule there in a moment.
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            var hasEnded = TcpProgress.HasEnded(socket); // asked before, so that what is looked at then is all of it
            var (isGone, isFound) = Peek(socket, most, parser, out var value);
            if (isGone || hasEnded || isFound is not null)
            {
                return (isFound, value);
            }

            await Task.Delay(pause, time, end.Token);
        }
    }

    private static (bool IsGone, bool? IsFound) Peek<T>(Socket socket, int most, Parser<T> parser, out T value)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(most);
        try
        {
            var count = socket.Receive(buffer.AsSpan(0, most), SocketFlags.Peek);
            var isFound = parser(buffer.AsSpan(0, count), out value);
            return (count == 0, count == most ? isFound ?? false : isFound);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
