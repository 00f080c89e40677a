using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests;

/// <summary>Several nodes in this process on one redis-server of their own, with real sockets between them.</summary>
internal sealed class TestCluster : IAsyncDisposable
{
    public const string Secret = "a secret of the tests, 32 characters and more";

    private readonly List<TestGateway> _nodes = [];

    private TestCluster(RedisServer redis) => Redis = redis;

    public RedisServer Redis { get; }

    public TestGateway this[int index] => _nodes[index];

    public IReadOnlyList<TestGateway> Nodes => _nodes;

    /// <summary>Starts the nodes and waits until each knows all.</summary>
    public static async Task<TestCluster> StartAsync(int nodes, Dictionary<string, string?>? settings = null)
    {
        var cluster = new TestCluster(await RedisServer.StartAsync());
        for (var i = 0; i < nodes; i++)
        {
            await cluster.AddNodeAsync(settings);
        }

        await cluster.KnowEachOtherAsync();
        return cluster;
    }

    public async Task<TestGateway> AddNodeAsync(Dictionary<string, string?>? settings = null, Action<WebApplicationBuilder>? configure = null)
    {
        var all = new Dictionary<string, string?>
        {
            ["Storage:Redis"] = Redis.ConnectionString,
            ["Cluster:Node"] = $"node-{_nodes.Count}",
            ["Cluster:Listen"] = $"127.0.0.1:{RedisServer.FreePort()}",
            ["Cluster:Secret"] = Secret,
            ["Cluster:Heartbeat"] = "00:00:00.500",
        };
        foreach (var (key, value) in settings ?? [])
        {
            all[key] = value;
        }

        var node = await TestGateway.StartAsync(all, configure);
        _nodes.Add(node);
        return node;
    }

    public Task KnowEachOtherAsync() => Eventually.TrueAsync(
        () => _nodes.All(node => node.Services.GetRequiredService<Nodes>().Live.Count == _nodes.Count), "each node knows all");

    /// <summary>Waits until a node knows of this many tunnels of a device, wherever they are.</summary>
    public static Task KnowsRoutesAsync(TestGateway node, DeviceUuid uuid, int count) => Eventually.TrueAsync(
        async () => (await node.Services.GetRequiredService<DeviceDirectory>().FindAsync(uuid)).Known.Routes.Length == count, $"{count} tunnels are known");

    public async ValueTask DisposeAsync()
    {
        foreach (var node in _nodes)
        {
            await node.DisposeAsync();
        }

        await Redis.DisposeAsync();
    }
}
