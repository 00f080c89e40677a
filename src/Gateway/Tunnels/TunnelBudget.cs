using Gateway.Limits;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Tunnels;

/// <summary>Lets devices in, as often as one may dial and as many as the node takes.</summary>
internal sealed class TunnelBudget(NodeBudget node, MemoryWatch memory, IOptions<LimitOptions> options, GatewayMetrics metrics, TimeProvider time)
{
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    private readonly PaceLimit _pace = PaceLimit.Of(options.Value.Device.ConnectsPerMinute, Minute, Minute, time);

    /// <summary>Whether the node has memory left for a device.</summary>
    public bool HasMemory() => Counted(!memory.IsShedding, GatewayMetrics.Limit.NodeMemory);

    /// <summary>Counts a dial of a device that has proven who it is; false when it dials too often.</summary>
    public bool TryConnect(DeviceUse device) => Counted(device.TryConnect(_pace, time.GetTimestamp()), GatewayMetrics.Limit.DeviceConnects);

    /// <summary>Counts a tunnel, until <see cref="EndTunnel"/>; false when the node has as many as it takes.</summary>
    public bool TryTunnel() => Counted(node.TryTunnel(), GatewayMetrics.Limit.NodeTunnels);

    public void EndTunnel() => node.EndTunnel();

    private bool Counted(bool allowed, string limit)
    {
        if (!allowed)
        {
            metrics.Refused(limit);
        }

        return allowed;
    }
}
