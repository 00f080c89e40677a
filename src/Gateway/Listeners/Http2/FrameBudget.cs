using Gateway.Limits;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Listeners.Http2;

/// <summary>
/// Finds a visitor who floods a connection of HTTP/2 with frames (RFC 9113 section 10.5) that the server takes for as long as they come:
/// PING, SETTINGS, PRIORITY, resets, what is empty or unknown, and openings of windows. Requests have limits of their own, and so have
/// their heads and contents. Looks at frames' heads only, and allocates nothing.
/// </summary>
/// <param name="idle">Frames that bring nothing.</param>
/// <param name="windows">Openings of windows.</param>
/// <param name="time">The clock of both.</param>
/// <param name="streams">Is told of streams that begin, and that are reset.</param>
internal sealed class FrameBudget(PaceLimit idle, PaceLimit windows, TimeProvider time, OpenStreams? streams = null)
{
    /// <summary>Openings of windows for each idle frame: two for each 16 KiB of an answer are usual.</summary>
    internal const int WindowUpdatesPerIdleFrame = 50;

    /// <summary>The client's preface (RFC 9113 section 3.4).</summary>
    private const int Preface = 24;

    private const byte Data = 0x0, Headers = 0x1, ResetStream = 0x3, WindowUpdate = 0x8, Continuation = 0x9;
    private const byte EndStream = 0x1;

    private FrameHeads _heads = new(Preface);
    private Pace _idle;
    private Pace _windows;

    /// <summary>Follows what the visitor has sent; false when that is a flood.</summary>
    public bool Receive(ReadOnlySpan<byte> bytes)
    {
        while (_heads.TryRead(ref bytes, out var frame))
        {
            if (frame.Type == Headers)
            {
                streams?.Begin(frame.StreamId);
            }
            else if (frame.Type == ResetStream)
            {
                streams?.End(frame.StreamId);
            }

            var allowed = frame.Type switch
            {
                Data => frame.Length > 0 || (frame.Flags & EndStream) != 0 || _idle.TryTake(idle, time.GetTimestamp()),
                Headers => true,
                Continuation when frame.Length > 0 => true,
                WindowUpdate => _windows.TryTake(windows, time.GetTimestamp()),
                _ => _idle.TryTake(idle, time.GetTimestamp()),
            };
            if (!allowed)
            {
                return false;
            }
        }

        return true;
    }
}
