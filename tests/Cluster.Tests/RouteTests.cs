using System.Collections.Immutable;
using System.Net;
using CsCheck;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Tests;

/// <summary>What Redis says of a device's tunnels is what there is, in whatever order nodes say it.</summary>
public sealed class RouteTests
{
    private static DeviceRoute Route(string node, ConnectionId connection) =>
        new(node, "epoch", DateTimeOffset.UnixEpoch, "agent/1", "192.0.2.1") { ConnectionId = connection };

    [Fact]
    public async Task A_late_disconnect_does_not_erase_the_newer_tunnel()
    {
        await using var cluster = await TestCluster.StartAsync(2);
        var store = cluster[0].Devices;
        var device = await cluster[0].AddDeviceAsync();

        var (older, newer) = (ConnectionId.New(), ConnectionId.New());

        await store.AddRouteAsync(device.Uuid, Route("node-0", older), []);
        await store.AddRouteAsync(device.Uuid, Route("node-1", newer), []);
        await store.RemoveRouteAsync(device.Uuid, older, "node-0");
        await store.RemoveRouteAsync(device.Uuid, older, "node-0");

        Assert.Equal(newer, Assert.Single(await store.FindRoutesAsync(device.Uuid)).ConnectionId);
    }

    [Fact]
    public async Task A_device_that_was_removed_does_not_come_back_by_its_last_disconnect()
    {
        await using var cluster = await TestCluster.StartAsync(1);
        var (uuid, connection) = (DeviceUuid.New(), ConnectionId.New());
        await cluster[0].Devices.AddRouteAsync(uuid, Route("node-0", connection), []);

        await cluster[0].Devices.RemoveRouteAsync(uuid, connection, "node-0");

        Assert.Null(await cluster[0].Devices.FindAsync(uuid));
        Assert.Empty(await cluster[0].Devices.FindRoutesAsync(uuid));
    }

    /// <summary>One device, three nodes that are killed and started again, and words that arrive late; against a list.</summary>
    [Fact]
    public async Task Whatever_order_nodes_speak_in_the_routes_of_living_nodes_are_the_tunnels_that_are_up()
    {
        await using var cluster = await TestCluster.StartAsync(1);
        var store = cluster[0].Devices;
        var step = Gen.Select(Gen.Int[0, 9], Gen.Int[0, 2], Gen.Int[0, 7]);
        var interleavings = 0;

        await step.Array[1, 24].SampleAsync(
            async steps =>
            {
                Interlocked.Increment(ref interleavings);
                var uuid = DeviceUuid.New();
                var epochs = new int[3];
                var up = new List<DeviceRoute>();               // the model
                var unsaid = new Dictionary<int, List<Func<Task>>> { [0] = [], [1] = [], [2] = [] };
                bool IsDead(DeviceRoute route) => route.Epoch != $"{epochs[route.Node[^1] - '0']}";

                async Task SayAsync(int node)
                {
                    foreach (var word in unsaid[node])
                    {
                        await word();
                    }

                    unsaid[node].Clear();
                }

                foreach (var (kind, node, which) in steps)
                {
                    var own = up.Where(route => route.Node == $"n{node}").ToList();
                    if (kind <= 3)
                    {
                        var added = new DeviceRoute($"n{node}", $"{epochs[node]}", DateTimeOffset.UnixEpoch, "", "") { ConnectionId = ConnectionId.New() };
                        up.Add(added);
                        unsaid[node].Add(async () => await store.AddRouteAsync(uuid, added, (await store.FindRoutesAsync(uuid)).Where(IsDead)));
                    }
                    else if (kind <= 6 && own.Count > 0)
                    {
                        var gone = own[which % own.Count];
                        up.Remove(gone);
                        unsaid[node].Add(() => store.RemoveRouteAsync(uuid, gone.ConnectionId, gone.Node));
                    }
                    else if (kind == 7)
                    {
                        // kill -9: its tunnels are gone, and what it has not said it never says.
                        up.RemoveAll(route => route.Node == $"n{node}");
                        unsaid[node].Clear();
                        epochs[node]++;
                    }
                    else
                    {
                        await SayAsync(node);
                    }
                }

                for (var node = 2; node >= 0; node--)
                {
                    await SayAsync(node);
                }

                var found = (await store.FindRoutesAsync(uuid)).Where(route => !IsDead(route)).Select(static route => route.ConnectionId);
                Assert.Equal(up.Select(static route => route.ConnectionId).ToHashSet(), found.ToHashSet());
            },
            iter: 10_000,
            threads: 16);

        Assert.InRange(interleavings, 10_000, int.MaxValue);
    }

    [Fact]
    public async Task A_device_that_moves_is_found_where_it_is_and_nowhere_else()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(3);
        var device = await cluster[0].AddDeviceAsync();
        using var visitor = cluster[2].CreateVisitor();
        foreach (var node in new[] { 0, 1, 0, 2, 1 })
        {
            await using var agent = await cluster[node].ConnectAsync(device, app.Url);

            // The request waits, where it must, for the news of the device.
            Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
            await Eventually.TrueAsync(
                async () => await cluster[2].Services.GetRequiredService<Presence>().FindAsync(device.Uuid) is [{ Node: var at }] && at == $"node-{node}", $"the device is at node-{node}");
        }

        await TestCluster.KnowsRoutesAsync(cluster[2], device.Uuid, 0);
    }

    [Fact]
    public async Task Routes_that_Redis_has_lost_are_written_again()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        var device = await cluster[0].AddDeviceAsync();
        await using var agent = await cluster[0].ConnectAsync(device, app.Url);
        await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
        await using var redis = await ConnectionMultiplexer.ConnectAsync($"{cluster.Redis.ConnectionString},allowAdmin=true");
        var database = redis.GetDatabase();
        var record = await database.HashGetAllAsync($"device:{{{device.Uuid}}}");

        // All is gone, and somebody else puts the devices back: the truth about them is not the nodes'.
        await redis.GetServers()[0].FlushDatabaseAsync();
        await database.HashSetAsync($"device:{{{device.Uuid}}}", record);

        await Eventually.TrueAsync(
            async () => (await database.HashLengthAsync($"route:{{{device.Uuid}}}"), await database.SetContainsAsync($"online:node-0:{cluster[0].Services.GetRequiredService<NodeIdentity>().Epoch}", $"{device.Uuid}")) == (1, true), "the route is there again");
        await cluster.KnowEachOtherAsync();
        using var visitor = cluster[1].CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
    }

    [Fact]
    public async Task While_Redis_is_away_devices_are_served_across_nodes_and_come_and_go()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        var (stays, comes) = (await cluster[0].AddDeviceAsync(), await cluster[0].AddDeviceAsync());
        await using var agent = await cluster[0].ConnectAsync(stays, app.Url);
        await TestCluster.KnowsRoutesAsync(cluster[1], stays.Uuid, 1);
        using var visitor = cluster[1].CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync($"http://{stays.Host}/"));
        using var unknown = await visitor.GetAsync($"http://{comes.Host}/");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, unknown.StatusCode);
        _ = await cluster[0].Services.GetRequiredService<DeviceDirectory>().FindAsync(comes.Uuid);

        cluster.Redis.Kill();
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal("here", await visitor.GetStringAsync($"http://{stays.Host}/"));
        }

        // Its key is known to the node; its route is written as soon as it can be.
        await using var second = await cluster[0].ConnectAsync(comes, app.Url);
        await cluster.Redis.RestartAsync();
        await TestCluster.KnowsRoutesAsync(cluster[1], comes.Uuid, 1);
        Assert.Equal("here", await visitor.GetStringAsync($"http://{comes.Host}/"));
    }

    [Fact]
    public async Task While_Redis_is_away_a_node_asks_the_others_for_a_device_that_it_was_never_asked_for()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(3);
        var (stays, comes, hidden) = (await cluster[0].AddDeviceAsync(), await cluster[0].AddDeviceAsync(), await cluster[0].AddDeviceAsync(publicUrl: false));
        await using var agent = await cluster[0].ConnectAsync(stays, app.Url);
        var first = cluster[0].Services.GetRequiredService<DeviceDirectory>();
        await TestCluster.KnowsRoutesAsync(cluster[0], stays.Uuid, 1);
        _ = await first.FindAsync(comes.Uuid);
        _ = await first.FindAsync(hidden.Uuid);
        using var visitor = cluster[1].CreateVisitor();

        cluster.Redis.Kill();

        Assert.Equal("here", await visitor.GetStringAsync($"http://{stays.Host}/"));
        using (var absent = await visitor.GetAsync($"http://{hidden.Host}/"))
        {
            Assert.Equal(HttpStatusCode.NotFound, absent.StatusCode);
        }

        using (var unknown = await visitor.GetAsync($"http://{DeviceUuid.New()}.{TestGateway.Domain}/"))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, unknown.StatusCode);
        }

        // Its key is known to the first node, and it dials the second.
        await using var second = await cluster[1].ConnectAsync(comes, app.Url);
        Assert.Equal("here", await visitor.GetStringAsync($"http://{comes.Host}/"));

        // Hearsay lasts no longer than Redis' absence.
        await cluster.Redis.RestartAsync();
        await Eventually.TrueAsync(() => cluster[2].Services.GetRequiredService<RedisConnection>().IsConnected, "Redis is back");
        await cluster[2].Devices.SetPublicUrlAsync(stays.Uuid, false);
        await Eventually.TrueAsync(
            async () =>
            {
                using var after = await visitor.GetAsync($"http://{stays.Host}/");
                return after.StatusCode == HttpStatusCode.NotFound;
            },
            "the device is hidden");
    }

    [Fact]
    public async Task A_node_that_Redis_alone_has_forgotten_still_hands_requests_over()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Cluster:Heartbeat"] = "00:00:30" });
        var device = await cluster[1].AddDeviceAsync();
        await using var agent = await cluster[1].ConnectAsync(device, app.Url);
        await TestCluster.KnowsRoutesAsync(cluster[0], device.Uuid, 1);
        var nodes = cluster[1].Services.GetRequiredService<Nodes>();

        // As when its record has run out, for it cannot write it anew.
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        await redis.GetDatabase().KeyDeleteAsync(Nodes.KeyOf("node-0"));
        await nodes.RefreshAsync();
        Assert.Equal(["node-1"], nodes.Live.Select(static node => node.Id));

        using var visitor = cluster[0].CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
    }

    [Fact]
    public async Task A_request_waits_for_a_device_that_was_just_here()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Edge:HoldTime"] = "00:00:30" });
        var device = await cluster[0].AddDeviceAsync();
        using var visitor = cluster[1].CreateVisitor();
        await using (await cluster[0].ConnectAsync(device, app.Url))
        {
            await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
            Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
        }

        await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 0);
        var asking = visitor.GetStringAsync($"http://{device.Host}/");
        Assert.False(asking.IsCompleted);
        await using var again = await cluster[0].ConnectAsync(device, app.Url);

        Assert.Equal("here", await asking);
    }

    [Fact]
    public async Task A_device_that_was_never_here_is_not_waited_for()
    {
        await using var cluster = await TestCluster.StartAsync(1, new() { ["Edge:HoldTime"] = "00:01:00" });
        var device = await cluster[0].AddDeviceAsync();
        using var visitor = cluster[0].CreateVisitor();

        // The hold would outlast the test's patience.
        using var response = await Eventually.ResultAsync(visitor.GetAsync($"http://{device.Host}/"), "the answer");

        Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
    }
}
