using Tunnel.Protocol.GatewaySide;

namespace Gateway.Listeners.Http2;

/// <summary>
/// The streams of a visitor's connection of HTTP/2 that have not ended (RFC 9113 section 5.1). A response that is complete for the
/// gateway may still wait in the server: it keeps up to 4 KiB of each for as long as the visitor's windows are closed, says that they
/// are written, and tells nobody when they are.
/// </summary>
internal sealed class OpenStreams
{
    // More than the server takes: who goes on after it has said goodbye does not fill memory.
    private const int MaxStreams = 1024;

    private const byte Data = 0x0, Headers = 0x1, ResetStream = 0x3;
    private const byte EndStream = 0x1;

    private readonly Lock _lock = new();

    // By number; with the task of who waits for the end, if anybody does.
    private readonly Dictionary<int, TaskCompletionSource?> _open = [];
    private FrameHeads _sent;
    private int _newest;
    private bool _isClosed;

    /// <summary>The visitor has sent a head: a request's, or trailers.</summary>
    public void Begin(int stream)
    {
        lock (_lock)
        {
            if (stream > _newest && _open.Count < MaxStreams && !_isClosed)
            {
                _newest = stream;
                _open[stream] = null;
            }
        }
    }

    /// <summary>Either side has ended the stream.</summary>
    public void End(int stream)
    {
        TaskCompletionSource? waiting;
        lock (_lock)
        {
            _open.Remove(stream, out waiting);
        }

        waiting?.SetResult();
    }

    /// <summary>Follows what the server sends.</summary>
    public void Send(ReadOnlySpan<byte> bytes)
    {
        while (_sent.TryRead(ref bytes, out var frame))
        {
            if (frame.Type == ResetStream || (frame.Type is Data or Headers && (frame.Flags & EndStream) != 0))
            {
                End(frame.StreamId);
            }
        }
    }

    /// <summary>Whether the response of the stream's request has not left yet.</summary>
    public bool IsOpen(int stream)
    {
        lock (_lock)
        {
            return _open.ContainsKey(stream);
        }
    }

    /// <summary>Is complete when the stream has ended.</summary>
    public Task WhenEndedAsync(int stream)
    {
        lock (_lock)
        {
            return _open.TryGetValue(stream, out var waiting)
                ? (_open[stream] = waiting ?? new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task
                : Task.CompletedTask;
        }
    }

    /// <summary>The connection has ended, and all of them with it.</summary>
    public void Close()
    {
        List<TaskCompletionSource?> all;
        lock (_lock)
        {
            _isClosed = true;
            all = [.. _open.Values];
            _open.Clear();
        }

        all.ForEach(static waiting => waiting?.SetResult());
    }
}
