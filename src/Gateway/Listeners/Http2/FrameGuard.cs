using System.IO.Pipelines;
using Gateway.Limits;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Http2;

/// <summary>Ends visitors' connections of HTTP/2 that are flooded with frames (<see cref="FrameBudget"/>), and knows which of their streams are open.</summary>
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

    /// <summary>Watches a visitor's connection of HTTP/2. Who has no limits floods nobody.</summary>
    public Task GuardAsync(ConnectionContext connection, ConnectionDelegate next) =>
        connection.IsHttp2() && connection.Features.Get<ConnectionUse>() is { } use ? WatchAsync(connection, use, next) : next(connection);

    private async Task WatchAsync(ConnectionContext connection, ConnectionUse use, ConnectionDelegate next)
    {
        var streams = new OpenStreams();
        connection.Features.Set(streams);
        var frames = use.Visitor is null ? new FrameBudget(default, default, _time, streams) : new FrameBudget(_idle, _windows, _time, streams);

        // Not when the server is done with the connection: it waits for the requests, and they for their streams.
        await using var closed = connection.ConnectionClosed.UnsafeRegister(static streams => ((OpenStreams)streams!).Close(), streams);
        await ObservingReader.InsertAsync(connection, input => new WatchedReader(connection, input, frames, _connections), next, streams.Send);
    }

    private sealed class WatchedReader(ConnectionContext connection, PipeReader inner, FrameBudget frames, ConnectionBudget connections) : ObservingReader(inner)
    {
        private bool _isFlooded;

        protected override void Observe(ReadOnlySpan<byte> bytes)
        {
            if (!_isFlooded && !frames.Receive(bytes))
            {
                _isFlooded = true;
                connections.Refuse(connection, GatewayMetrics.Limit.VisitorFrames);
            }
        }

        protected override Exception? Objection() => _isFlooded ? new ConnectionAbortedException("The visitor floods the connection with frames.") : null;
    }
}

internal static class FrameGuardExtensions
{
    /// <summary>Comes after the TLS middleware, which learns the protocol.</summary>
    public static IConnectionBuilder UseFrameGuard(this IConnectionBuilder connections, FrameGuard guard) =>
        connections.Use(next => connection => guard.GuardAsync(connection, next));
}
