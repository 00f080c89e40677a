using System.Buffers;
using System.IO.Pipelines;
using System.Net.Security;
using System.Runtime.CompilerServices;
using Gateway.Limits;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Http2;

/// <summary>Ends visitors' connections of HTTP/2 that are flooded with frames (<see cref="FrameBudget"/>).</summary>
internal sealed class FrameGuard
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Burst = TimeSpan.FromSeconds(10);

    private readonly ConnectionBudget _connections;
    private readonly TimeProvider _time;
    private readonly PaceLimit _idle;
    private readonly PaceLimit _windows;

    public FrameGuard(IOptions<LimitOptions> options, ConnectionBudget connections, TimeProvider time)
    {
        var perSecond = options.Value.Visitor.IdleFramesPerSecond;
        (_connections, _time) = (connections, time);
        _idle = PaceLimit.Of(perSecond, Second, Burst, time);
        _windows = PaceLimit.Of(perSecond * FrameBudget.WindowUpdatesPerIdleFrame, Second, Burst, time);
    }

    /// <summary>Watches a connection, unless it is none of HTTP/2 or its client has no limits.</summary>
    public Task GuardAsync(ConnectionContext connection, ConnectionDelegate next) =>
        IsHttp2(connection) && _idle.Interval > 0 && connection.Features.Get<ConnectionUse>() is { Visitor: not null } ? WatchAsync(connection, next) : next(connection);

    private static bool IsHttp2(ConnectionContext connection) =>
        connection.Features.Get<ITlsApplicationProtocolFeature>() is { } tls && tls.ApplicationProtocol.Span.SequenceEqual(SslApplicationProtocol.Http2.Protocol.Span);

    private async Task WatchAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        var transport = connection.Transport;
        connection.Transport = new WatchedTransport(new WatchedReader(connection, transport.Input, new FrameBudget(_idle, _windows, _time), _connections), transport.Output);
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

    private sealed record WatchedTransport(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    /// <summary>Shows every byte to the budget once, and hands the inner reader's buffers through as they are.</summary>
    private sealed class WatchedReader(ConnectionContext connection, PipeReader inner, FrameBudget frames, ConnectionBudget connections) : PipeReader
    {
        private ReadOnlySequence<byte> _buffer;

        // What comes again at the start of the next buffer.
        private long _left;

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
        {
            var read = inner.ReadAsync(cancellationToken);
            return read.IsCompletedSuccessfully ? ValueTask.FromResult(Watched(read.Result)) : AwaitAsync(read);
        }

        public override bool TryRead(out ReadResult result)
        {
            if (!inner.TryRead(out result))
            {
                return false;
            }

            result = Watched(result);
            return true;
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            _left = consumed.GetObject() is null ? _buffer.Length : _buffer.Slice(consumed).Length;
            _buffer = default;
            inner.AdvanceTo(consumed, examined);
        }

        public override void CancelPendingRead() => inner.CancelPendingRead();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);

        public override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);

        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        private async ValueTask<ReadResult> AwaitAsync(ValueTask<ReadResult> read) => Watched(await read);

        private ReadResult Watched(ReadResult result)
        {
            _buffer = result.Buffer;
            var allowed = true;
            foreach (var segment in _buffer.Slice(_left))
            {
                allowed = allowed && frames.Receive(segment.Span);
            }

            if (!allowed)
            {
                connections.Refuse(connection, GatewayMetrics.Limit.VisitorFrames);
                inner.AdvanceTo(_buffer.Start, _buffer.End);
                throw new ConnectionAbortedException("The visitor floods the connection with frames.");
            }

            return result;
        }
    }
}

internal static class FrameGuardExtensions
{
    /// <summary>Comes after the TLS middleware, which learns the protocol.</summary>
    public static IConnectionBuilder UseFrameGuard(this IConnectionBuilder connections, FrameGuard guard) =>
        connections.Use(next => connection => guard.GuardAsync(connection, next));
}
