using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Listeners;

/// <summary>
/// What a connection's client sends, on its way to the server: every byte is shown once, and the inner reader's buffers are
/// handed through as they are.
/// </summary>
internal abstract class ObservingReader(PipeReader inner) : PipeReader
{
    private ReadOnlySequence<byte> _buffer;

    // What was shown and not consumed comes again at the start of the next buffer.
    private long _shown;

    /// <summary>Lets the server read a connection through an observer.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="observe">Makes the observer of the connection's input.</param>
    /// <param name="next">The server.</param>
    /// <param name="sent">Is shown what the server sends, in order; null for nobody.</param>
    public static async Task InsertAsync(ConnectionContext connection, Func<PipeReader, ObservingReader> observe, ConnectionDelegate next, ByteObserver? sent = null)
    {
        var transport = connection.Transport;
        connection.Transport = new ObservedTransport(observe(transport.Input), sent is null ? transport.Output : new ObservingWriter(transport.Output, sent));
        try
        {
            await next(connection);
        }
        finally
        {
            // The middleware around this one completes the pipes that it made.
            connection.Transport = transport;
        }
    }

    /// <summary>Is shown what has come, once and in order.</summary>
    protected abstract void Observe(ReadOnlySpan<byte> bytes);

    /// <summary>What the server's reads fail with from now on; null when all is well.</summary>
    protected abstract Exception? Objection();

    /// <summary>The server has taken so many bytes.</summary>
    protected virtual void Consume(long count)
    {
    }

    public sealed override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        if (Objection() is { } before)
        {
            return ValueTask.FromException<ReadResult>(before);
        }

        var read = inner.ReadAsync(cancellationToken);
        if (!read.IsCompletedSuccessfully)
        {
            return AwaitAsync(read);
        }

        var result = read.Result;
        return Show(result) is { } objection ? ValueTask.FromException<ReadResult>(objection) : ValueTask.FromResult(result);
    }

    public sealed override bool TryRead(out ReadResult result)
    {
        if (Objection() is { } before)
        {
            throw before;
        }

        if (!inner.TryRead(out result))
        {
            return false;
        }

        return Show(result) is { } objection ? throw objection : true;
    }

    public sealed override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public sealed override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        // A pipe takes the default position for no progress, and the server passes it on some of its error paths.
        if (consumed.GetObject() is not null)
        {
            var count = _buffer.Slice(_buffer.Start, consumed).Length;
            _shown -= count;
            Consume(count);
        }

        _buffer = default;
        inner.AdvanceTo(consumed, examined);
    }

    public sealed override void CancelPendingRead() => inner.CancelPendingRead();

    public sealed override void Complete(Exception? exception = null) => inner.Complete(exception);

    public sealed override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    private async ValueTask<ReadResult> AwaitAsync(ValueTask<ReadResult> read)
    {
        var result = await read;
        return Show(result) is { } objection ? throw objection : result;
    }

    private Exception? Show(in ReadResult result)
    {
        _buffer = result.Buffer;
        if (_buffer.IsSingleSegment)
        {
            Observe(_buffer.FirstSpan[(int)_shown..]);
        }
        else
        {
            foreach (var segment in _buffer.Slice(_shown))
            {
                Observe(segment.Span);
            }
        }

        _shown = _buffer.Length;
        var objection = Objection();
        if (objection is not null)
        {
            // The server won't: it gets an exception in place of this result.
            AdvanceTo(_buffer.Start);
        }

        return objection;
    }

    private sealed record ObservedTransport(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
