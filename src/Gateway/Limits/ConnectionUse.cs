using System.Net;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>A connection's feature: whom it counts for.</summary>
internal sealed class ConnectionUse(VisitorUse? visitor) : IDisposable
{
    private int _counted = 1;

    /// <summary>The address that it comes from; null when that has no limits.</summary>
    public VisitorUse? Visitor => visitor;

    /// <summary>It is a device's tunnel now, and no visitor's connection any more: thousands of devices may stand behind one address.</summary>
    public void BecomeTunnel() => Dispose();

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _counted, 0) == 1)
        {
            visitor?.Disconnect();
        }
    }
}

/// <summary>Lets connections in, as many as an address and the node may have. Who is refused costs neither a handshake nor a byte.</summary>
internal sealed partial class ConnectionBudget(
    VisitorBudgets visitors, NodeBudget node, MemoryWatch memory, IOptions<LimitOptions> options, GatewayMetrics metrics, TimeProvider time, ILogger<ConnectionBudget> logger)
{
    private static readonly TimeSpan LogInterval = TimeSpan.FromSeconds(10);

    private readonly int _perVisitor = options.Value.Visitor.Connections;
    private readonly PaceLimit _pace = PaceLimit.Of(options.Value.Visitor.ConnectsPerSecond, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10), time);
    private long _loggedAt;

    /// <summary>Holds a connection to its end, or ends it at once.</summary>
    public async Task GuardAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        // 1. The node.
        if (memory.IsCritical || !node.TryConnect())
        {
            Refuse(connection, memory.IsCritical ? GatewayMetrics.Limit.NodeMemory : GatewayMetrics.Limit.NodeConnections);
            return;
        }

        try
        {
            // 2. The address.
            var visitor = visitors.Find((connection.RemoteEndPoint as IPEndPoint)?.Address);
            if (visitor is not null && !visitor.TryTakeConnection(_pace, time.GetTimestamp()))
            {
                Refuse(connection, GatewayMetrics.Limit.VisitorConnects);
                return;
            }

            if (visitor is not null && !visitor.TryConnect(_perVisitor))
            {
                Refuse(connection, GatewayMetrics.Limit.VisitorConnections);
                return;
            }

            using var use = new ConnectionUse(visitor);
            connection.Features.Set(use);
            await next(connection);
        }
        finally
        {
            node.Disconnect();
        }
    }

    /// <summary>Ends a connection, without a farewell: a reset leaves nothing behind on this side, where an orderly end would wait for the other's.</summary>
    public void Refuse(ConnectionContext connection, string limit)
    {
        metrics.Refused(limit);
        var now = time.GetTimestamp();
        var loggedAt = Volatile.Read(ref _loggedAt);
        if ((loggedAt == 0 || time.GetElapsedTime(loggedAt, now) > LogInterval) && Interlocked.CompareExchange(ref _loggedAt, now, loggedAt) == loggedAt)
        {
            LogRefused(logger, connection.RemoteEndPoint, limit);
        }

        connection.Abort(new ConnectionAbortedException($"Beyond a limit: {limit}."));
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection from {Address} was closed, and others may have been: {Limit} (docs/security.md#budgets)")]
    private static partial void LogRefused(ILogger logger, EndPoint? address, string limit);
}

internal static class ConnectionBudgetExtensions
{
    /// <summary>Comes after the PROXY protocol, which says who the client is, and before TLS, which costs.</summary>
    public static IConnectionBuilder UseConnectionBudget(this IConnectionBuilder connections, ConnectionBudget budget) =>
        connections.Use(next => connection => budget.GuardAsync(connection, next));
}
