using Gateway.Devices;
using Gateway.Tunnels;

namespace Gateway.Cluster;

/// <summary>A way to a device.</summary>
internal abstract record RouteResult
{
    /// <summary>A tunnel on this node.</summary>
    public sealed record Local(DeviceTunnel Tunnel) : RouteResult;

    /// <summary>A tunnel on another node, one hop away.</summary>
    public sealed record Remote(NodeRecord Node, DeviceRoute Route) : RouteResult
    {
        // A node's word about itself may change; the tunnel is the same.
        public bool Equals(Remote? other) => other?.Route.ConnectionId == Route.ConnectionId;

        public override int GetHashCode() => Route.ConnectionId.GetHashCode();
    }
}
