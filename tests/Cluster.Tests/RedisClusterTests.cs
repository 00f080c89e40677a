using System.Net;
using Gateway.Admin;
using Gateway.Admin.Audit;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests;

/// <summary>Redis as a Cluster of three primaries, which each hold a part of the devices.</summary>
public sealed class RedisClusterTests
{
    private const int Devices = 30;

    [Fact]
    public async Task Devices_on_all_primaries_are_served_switched_listed_and_removed()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var redis = await RedisCluster.StartAsync();
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Storage:Redis"] = redis.ConnectionString });
        var devices = new List<TestDevice>();
        for (var i = 0; i < Devices; i++)
        {
            devices.Add(await cluster[0].AddDeviceAsync());
        }

        // Wherever its keys lie, and at either node.
        using var visitor = cluster[1].CreateVisitor();
        foreach (var device in devices.Take(6))
        {
            await using var agent = await cluster[0].ConnectAsync(device, app.Url);
            await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
            Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
            await cluster[0].Devices.SetPublicUrlAsync(device.Uuid, false);
            await Eventually.TrueAsync(async () => await StatusAsync(device.Host) == HttpStatusCode.NotFound, "the other node has heard of it");
        }

        foreach (var node in cluster.Nodes)
        {
            await node.Services.GetRequiredService<DeviceCatalogue>().Loaded;
            await Eventually.TrueAsync(() => Listed(node).Count == Devices, "all devices are listed");
        }

        // What a device leaves behind goes with it: its domain, and its counts.
        var operations = cluster[0].Services.GetRequiredService<DeviceOperations>();
        Assert.True(DomainName.TryParse("kitchen.example.com", out var name));
        await cluster[0].Services.GetRequiredService<DomainStore>().AddAsync(name, devices[0].Uuid);
        await operations.DeleteAsync(new Actor("test", "test", "local"), devices[0].Uuid, static _ => { });
        await Eventually.TrueAsync(() => cluster.Nodes.All(node => !Listed(node).Contains(devices[0].Uuid)), "the device is gone everywhere");
        Assert.Empty(await cluster[0].Services.GetRequiredService<DomainStore>().ReadAsync());
        Assert.Equal(2, cluster[1].Services.GetRequiredService<Nodes>().Live.Count);

        async Task<HttpStatusCode> StatusAsync(string host)
        {
            using var response = await visitor.GetAsync($"http://{host}/");
            return response.StatusCode;
        }
    }

    private static HashSet<Tunnel.Protocol.DeviceUuid> Listed(TestGateway node) =>
        [.. node.Services.GetRequiredService<DeviceCatalogue>().Select(static _ => true)];

    /// <summary>Three redis-server processes that share the slots.</summary>
    private sealed class RedisCluster : IAsyncDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-redis-cluster-");
        private readonly List<(string Address, ChildProcess Process)> _primaries = [];

        public string ConnectionString => string.Join(',', _primaries.Select(static primary => primary.Address));

        public static async Task<RedisCluster> StartAsync()
        {
            var cluster = new RedisCluster();
            for (var i = 0; i < 3; i++)
            {
                var port = RedisServer.FreePort();
                var folder = cluster._folder.CreateSubdirectory($"{port}").FullName;
                var process = ChildProcess.Start(
                    "redis-server",
                    ["--port", $"{port}", "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--cluster-enabled", "yes", "--cluster-port", $"{RedisServer.FreePort()}"]);
                cluster._primaries.Add(($"127.0.0.1:{port}", process));
                await process.WaitForOutputAsync("Ready to accept connections");
            }

            await using var create = ChildProcess.Start(
                "redis-cli", ["--cluster", "create", .. cluster._primaries.Select(static primary => primary.Address), "--cluster-replicas", "0", "--cluster-yes"]);
            await create.WaitForExitAsync();
            Assert.Contains("All 16384 slots covered", create.Output, StringComparison.Ordinal);
            foreach (var (address, _) in cluster._primaries)
            {
                await Eventually.TrueAsync(
                    async () =>
                    {
                        await using var info = ChildProcess.Start("redis-cli", ["-p", address.Split(':')[1], "CLUSTER", "INFO"]);
                        await info.WaitForExitAsync();
                        return info.Output.Contains("cluster_state:ok", StringComparison.Ordinal);
                    },
                    "the primary knows the others");
            }

            return cluster;
        }

        public async ValueTask DisposeAsync()
        {
            foreach (var (_, process) in _primaries)
            {
                await process.DisposeAsync();
            }

            _folder.Delete(recursive: true);
        }
    }
}
