using Gateway.Devices;
using Gateway.Tunnels;
using Tunnel.Protocol;

namespace Gateway.Cluster;

/// <summary>Finds the way to a device: a tunnel of this node first, then one hop to another node. Never asks Redis.</summary>
internal sealed class Router(TunnelRegistry tunnels, Nodes nodes)
{
    /// <summary>The best way that was not tried yet; null when there is none.</summary>
    public RouteResult? Find(DeviceUuid uuid, DeviceEntry.Known known, List<RouteResult>? tried)
    {
        // A node that drains leaves its own tunnels alone where it can: they are about to end.
        if (nodes.IsDraining && FindRemote(known, tried) is { Node: var node } elsewhere && Rank(node) == 0)
        {
            return elsewhere;
        }

        foreach (var tunnel in tunnels.FindAll(uuid))
        {
            var local = new RouteResult.Local(tunnel);
            if (tunnel.Client.IsOpen && tried?.Contains(local) != true)
            {
                return local;
            }
        }

        return FindRemote(known, tried);
    }

    private RouteResult.Remote? FindRemote(DeviceEntry.Known known, List<RouteResult>? tried)
    {
        RouteResult.Remote? best = null;
        foreach (var route in known.Routes)
        {
            if (route.Node != nodes.Id && nodes.Find(route) is { Address: not null } node && new RouteResult.Remote(node, route) is var remote
                && tried?.Contains(remote) != true && (best is null || IsBetter(remote, best)))
            {
                best = remote;
            }
        }

        return best;
    }

    /// <summary>Whether a way to the device was there within the last <paramref name="span"/>, so that it may soon be there again.</summary>
    public bool WasReachableWithin(DeviceEntry entry, DeviceEntry.Known known, TimeSpan span, DateTimeOffset now) =>
        entry.WasReachableWithin(span)
        || now - known.Record?.LastSeen <= span
        || known.Routes.Any(route => nodes.DiedWithin(route, span));

    private bool IsBetter(RouteResult.Remote one, RouteResult.Remote other)
    {
        var (rank, otherRank) = (Rank(one.Node), Rank(other.Node));
        return rank != otherRank ? rank < otherRank : one.Route.Since > other.Route.Since;
    }

    private int Rank(NodeRecord node) => nodes.IsUnreachable(node) ? 2 : node.Draining ? 1 : 0;
}
