using System.Net;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>A connection's feature: whom it counts for, until it ends.</summary>
internal sealed class ConnectionUse(NodeBudget node, VisitorUse? visitor) : IDisposable
{
    private VisitorUse? _counted = visitor;
    private NodeBudget? _node = node;

    /// <summary>The address that it comes from; null when that has no limits.</summary>
    public VisitorUse? Visitor { get; } = visitor;

    /// <summary>It is a device's tunnel now, and no visitor's connection any more: thousands of devices may stand behind one address.</summary>
    public void BecomeTunnel() => Interlocked.Exchange(ref _counted, null)?.Disconnect();

    public void Dispose()
    {
        BecomeTunnel();
        Interlocked.Exchange(ref _node, null)?.Disconnect();
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

    /// <summary>Counts a connection.</summary>
    /// <returns>Null when there are too many.</returns>
    public ConnectionUse? TryAdmit(EndPoint? client)
    {
        // 1. The node.
        if (memory.IsCritical || !node.TryConnect())
        {
            return Refuse(client, memory.IsCritical ? GatewayMetrics.Limit.NodeMemory : GatewayMetrics.Limit.NodeConnections);
        }

        // 2. The address.
        var visitor = visitors.Find((client as IPEndPoint)?.Address);
        if (visitor is not null && !visitor.TryTakeConnection(_pace, time.GetTimestamp()))
        {
            node.Disconnect();
            return Refuse(client, GatewayMetrics.Limit.VisitorConnects);
        }

        if (visitor is not null && !visitor.TryConnect(_perVisitor))
        {
            node.Disconnect();
            return Refuse(client, GatewayMetrics.Limit.VisitorConnections);
        }

        return new ConnectionUse(node, visitor);
    }

    /// <summary>Ends a connection, without a farewell: a reset leaves nothing behind on this side, where an orderly end would wait for the other's.</summary>
    public void Refuse(ConnectionContext connection, string limit)
    {
        Refuse(connection.RemoteEndPoint, limit);
        connection.Abort(new ConnectionAbortedException($"Beyond a limit: {limit}."));
    }

    private ConnectionUse? Refuse(EndPoint? client, string limit)
    {
        metrics.Refused(limit);
        var now = time.GetTimestamp();
        var loggedAt = Volatile.Read(ref _loggedAt);
        if ((loggedAt == 0 || time.GetElapsedTime(loggedAt, now) > LogInterval) && Interlocked.CompareExchange(ref _loggedAt, now, loggedAt) == loggedAt)
        {
            LogRefused(logger, client, limit);
        }

        return null;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection from {Address} was closed, and others may have been: {Limit} (docs/security.md#budgets)")]
    private static partial void LogRefused(ILogger logger, EndPoint? address, string limit);
}
