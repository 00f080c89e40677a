namespace Tunnel.Protocol.GatewaySide;

/// <summary>
/// Finds a device that floods its tunnel with frames (RFC 9113 section 10.5). The platform's HTTP/2 client takes whatever is valid: it owes an
/// answer to each PING and SETTINGS, and keeps those that the device does not read, without end; and frames that bring nothing cost it
/// processor time for as long as they come. Looks at frames' heads only, and allocates nothing.
/// </summary>
internal sealed class FrameWatch
{
    /// <summary>The most answers that a device may leave unread.</summary>
    internal const int MaxUnread = 10_000;

    /// <summary>The most frames in <see cref="Window"/> that bring nothing. A transfer that measures its path sends a PING a round trip.</summary>
    internal const int MaxIdle = 20_000;

    /// <summary>The most heads and resets in <see cref="Window"/> beyond <see cref="HeadsPerRequest"/>.</summary>
    internal const int MaxHeads = 10_000;

    /// <summary>Heads and resets for each request: what comes early (1xx), the answer, its trailers.</summary>
    internal const int HeadsPerRequest = 4;

    /// <summary>The most openings of windows in <see cref="Window"/>: two for each 16 KiB that 800 MB/s would take.</summary>
    internal const int MaxWindowUpdates = 1_000_000;

    private const int ClientPreface = 24;
    private const byte Data = 0x0, Headers = 0x1, ResetStream = 0x3, Settings = 0x4, Ping = 0x6, WindowUpdate = 0x8, Continuation = 0x9;
    private const byte Acknowledged = 0x1, EndStream = 0x1;

    private static readonly TimeSpan Window = TimeSpan.FromSeconds(10);

    private FrameHeads _received;
    private FrameHeads _sent = new(ClientPreface);
    private int _unread;
    private long _requests;
    private long _requestsBefore;
    private long _windowStart;
    private int _idle;
    private int _heads;
    private int _windowUpdates;

    /// <summary>Follows what the device has sent; false when that is a flood.</summary>
    public bool Receive(ReadOnlySpan<byte> bytes)
    {
        while (_received.TryRead(ref bytes, out var frame))
        {
            var allowed = frame.Type switch
            {
                Data when frame.Length > 0 || (frame.Flags & EndStream) != 0 => true,
                Continuation when frame.Length > 0 => true, // a limit of its own: the head's
                Headers or ResetStream => Count(ref _heads, MaxHeads + (HeadsPerRequest * (Volatile.Read(ref _requests) - _requestsBefore))),
                WindowUpdate => Count(ref _windowUpdates, MaxWindowUpdates),
                Ping or Settings when (frame.Flags & Acknowledged) == 0 => Interlocked.Increment(ref _unread) <= MaxUnread && Count(ref _idle, MaxIdle),
                _ => Count(ref _idle, MaxIdle),
            };
            if (!allowed)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Follows what the device is sent.</summary>
    public void Send(ReadOnlySpan<byte> bytes)
    {
        while (_sent.TryRead(ref bytes, out var frame))
        {
            if (frame.Type == Headers)
            {
                Interlocked.Increment(ref _requests);
            }
            else if (frame.Type is Ping or Settings && (frame.Flags & Acknowledged) != 0)
            {
                Interlocked.Decrement(ref _unread);
            }
        }
    }

    private bool Count(ref int count, long limit)
    {
        var now = Environment.TickCount64;
        if (now - _windowStart > Window.TotalMilliseconds)
        {
            (_windowStart, _requestsBefore) = (now, Volatile.Read(ref _requests));
            (_idle, _heads, _windowUpdates) = (0, 0, 0);
        }

        return ++count <= limit;
    }
}
