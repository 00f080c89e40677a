using Gateway.Cluster;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Tests;

/// <summary>A node's copy of who is online is what Redis says, whatever happens to either.</summary>
public sealed class OnlineTests
{
    private static Task<OnlineView> OnlineAsync(TestGateway node) => node.Services.GetRequiredService<Presence>().AllOnlineAsync();

    private static Task IsOnlineAsync(TestGateway node, DeviceUuid uuid, bool expected) => Eventually.TrueAsync(
        async () => (await OnlineAsync(node)).Contains(uuid) == expected, $"the device is {(expected ? "online" : "offline")}");

    /// <summary>Puts a device into a node's set behind everybody's back.</summary>
    private static async Task<DeviceUuid> AddInSilenceAsync(TestCluster cluster, ConnectionMultiplexer redis)
    {
        var uuid = DeviceUuid.New();
        var node = cluster[0].Services.GetRequiredService<NodeIdentity>();
        await redis.GetDatabase().SetAddAsync($"online:{node.Id}:{node.Epoch}", $"{uuid}");
        return uuid;
    }

    /// <summary>Waits until the node answers from memory: it no longer sees what nobody told it of.</summary>
    private static Task AnswersFromMemoryAsync(TestCluster cluster, ConnectionMultiplexer redis) => Eventually.TrueAsync(
        async () =>
        {
            await OnlineAsync(cluster[1]);
            return !(await OnlineAsync(cluster[1])).Contains(await AddInSilenceAsync(cluster, redis));
        },
        "the node answers from memory");

    [Fact]
    public async Task A_device_is_online_as_long_as_one_of_its_tunnels_is_up_on_whichever_node()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(3);
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        await AnswersFromMemoryAsync(cluster, redis);
        var before = (await OnlineAsync(cluster[1])).Count;
        var device = await cluster[0].AddDeviceAsync();

        var first = await cluster[0].ConnectAsync(device, app.Url);
        await IsOnlineAsync(cluster[1], device.Uuid, true);
        await using (await cluster[2].ConnectAsync(device, app.Url))
        {
            await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 2);
            Assert.Equal(before + 1, (await OnlineAsync(cluster[1])).Count);
            await first.DisposeAsync();
            await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
            await IsOnlineAsync(cluster[1], device.Uuid, true);
        }

        await IsOnlineAsync(cluster[1], device.Uuid, false);
        Assert.Equal(before, (await OnlineAsync(cluster[1])).Count);
    }

    [Fact]
    public async Task A_word_that_came_while_the_channel_was_lost_is_made_up_for()
    {
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Devices:ReconcileInterval"] = "00:10:00" });
        await using var redis = await ConnectionMultiplexer.ConnectAsync($"{cluster.Redis.ConnectionString},allowAdmin=true");
        await AnswersFromMemoryAsync(cluster, redis);
        var device = await AddInSilenceAsync(cluster, redis);
        Assert.False((await OnlineAsync(cluster[1])).Contains(device));

        await redis.GetServers()[0].ExecuteAsync("CLIENT", "KILL", "TYPE", "pubsub");

        await IsOnlineAsync(cluster[1], device, true);
        await AnswersFromMemoryAsync(cluster, redis);
    }

    [Fact]
    public async Task Redis_may_go_away_and_come_back()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        await AnswersFromMemoryAsync(cluster, redis);
        var (leaving, staying) = (await cluster[0].AddDeviceAsync(), await cluster[0].AddDeviceAsync());
        var gone = await cluster[0].ConnectAsync(leaving, app.Url);
        await using var stays = await cluster[0].ConnectAsync(staying, app.Url);
        await IsOnlineAsync(cluster[1], leaving.Uuid, true);
        await IsOnlineAsync(cluster[1], staying.Uuid, true);

        cluster.Redis.Kill();
        await gone.DisposeAsync();
        await cluster.Redis.RestartAsync();

        await Eventually.TrueAsync(
            async () =>
            {
                try
                {
                    var online = await OnlineAsync(cluster[1]);
                    return !online.Contains(leaving.Uuid) && online.Contains(staying.Uuid);
                }
                catch (RedisException)
                {
                    return false;   // it is not there yet
                }
            },
            "the one that left is offline, the other is not");
    }

    [Fact]
    public async Task An_emptied_Redis_takes_nobody_offline_for_good()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        await AnswersFromMemoryAsync(cluster, redis);
        var device = await cluster[0].AddDeviceAsync();
        await using (await cluster[0].ConnectAsync(device, app.Url))
        {
            await IsOnlineAsync(cluster[1], device.Uuid, true);
            await cluster.Redis.FlushAsync();
            var node = cluster[0].Services.GetRequiredService<NodeIdentity>();
            await Eventually.TrueAsync(() => redis.GetDatabase().SetContainsAsync($"online:{node.Id}:{node.Epoch}", $"{device.Uuid}"), "it is written again");
            await cluster.KnowEachOtherAsync();
            await IsOnlineAsync(cluster[1], device.Uuid, true);
        }

        await IsOnlineAsync(cluster[1], device.Uuid, false);
    }

    [Fact]
    public async Task What_nobody_said_is_found_after_the_interval()
    {
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Devices:ReconcileInterval"] = "00:00:01" });
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        await AnswersFromMemoryAsync(cluster, redis);

        await IsOnlineAsync(cluster[1], await AddInSilenceAsync(cluster, redis), true);
    }

    [Fact]
    public async Task The_devices_of_a_node_that_is_gone_are_offline_and_its_set_runs_out()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        await using var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        var device = await cluster[0].AddDeviceAsync();
        await using var agent = await cluster[0].ConnectAsync(device, app.Url);
        await IsOnlineAsync(cluster[1], device.Uuid, true);

        await cluster[0].Services.GetRequiredService<Nodes>().LeaveAsync();   // its tunnel is up, and nobody says that it ended: as if it were killed

        await IsOnlineAsync(cluster[1], device.Uuid, false);
        var node = cluster[0].Services.GetRequiredService<NodeIdentity>();
        await Eventually.TrueAsync(async () => await redis.GetDatabase().KeyTimeToLiveAsync($"online:{node.Id}:{node.Epoch}") > TimeSpan.Zero, "its set has a time to live");
    }
}
