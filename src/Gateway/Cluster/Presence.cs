using System.Collections.Immutable;
using Gateway.Devices;
using Gateway.Storage;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Cluster;

/// <summary>Which devices are online, on all nodes: for operators.</summary>
internal sealed class Presence(Nodes nodes, DeviceStore store, RedisConnection redis, OnlineDevices online)
{
    /// <summary>A device's live tunnels, the newest first.</summary>
    /// <exception cref="StoreUnavailableException">Redis has not been reached yet.</exception>
    public async Task<ImmutableArray<DeviceRoute>> FindAsync(DeviceUuid uuid) =>
        [.. (await store.FindRoutesAsync(uuid)).Where(route => nodes.Find(route) is not null).OrderByDescending(static route => route.Since)];

    /// <summary>Whether each of these devices is online, in their order.</summary>
    /// <exception cref="StoreUnavailableException">Redis has not been reached yet.</exception>
    public async Task<bool[]> AreOnlineAsync(IReadOnlyList<DeviceUuid> devices)
    {
        if (devices.Count == 0)
        {
            return [];
        }

        var members = devices.Select(static uuid => (RedisValue)uuid.ToString()).ToArray();
        var areOnline = new bool[devices.Count];
        foreach (var answer in await Task.WhenAll(nodes.Live.Select(node => redis.Database.SetContainsAsync(RouteWriter.OnlineOf(node.Id, node.Epoch), members))))
        {
            for (var i = 0; i < areOnline.Length; i++)
            {
                areOnline[i] |= answer[i];
            }
        }

        return areOnline;
    }

    /// <summary>All devices that are online, from memory.</summary>
    /// <exception cref="StoreUnavailableException">Redis has not been reached yet.</exception>
    public Task<OnlineView> AllOnlineAsync() => online.ReadAsync();
}
