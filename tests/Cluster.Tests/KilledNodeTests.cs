using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using StackExchange.Redis;

namespace Gateway.Tests;

/// <summary>Nodes as processes, one of which is killed without a word.</summary>
public sealed class KilledNodeTests
{
    private static Task<GatewayProcess> StartAsync(RedisServer redis, int number) => GatewayProcess.StartAsync(
        null, $"Storage:Redis={redis.ConnectionString}", $"Cluster:Node=node-{number}", $"Cluster:Listen=127.0.0.1:{RedisServer.FreePort()}", $"Cluster:Secret={TestCluster.Secret}", "Cluster:Heartbeat=00:00:00.500");

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task No_idempotent_request_fails_when_the_node_with_the_tunnel_is_killed(int connections)
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var redis = await RedisServer.StartAsync();
        await using var first = await StartAsync(redis, 0);
        await using var second = await StartAsync(redis, 1);
        await using var third = await StartAsync(redis, 2);
        GatewayProcess[] nodes = [first, second, third];
        await using var balancer = new Balancer(nodes.Select(static node => node.Port));
        var device = await nodes[0].AddDeviceAsync();
        await using var agent = await TestAgent.StartAsync(new Uri($"http://tunnel.localhost:{balancer.Port}"), device, app.Url, connections);
        await using var connection = await ConnectionMultiplexer.ConnectAsync(redis.ConnectionString);
        async Task<string[]> HoldersAsync() => [.. (await connection.GetDatabase().HashValuesAsync($"route:{{{device.Uuid}}}")).Select(static value => $"{value}")];
        await Eventually.TrueAsync(async () => (await HoldersAsync()).Length == connections, "the tunnels are up");
        var holders = await HoldersAsync();
        var killed = Array.FindIndex(nodes, node => holders[0].Contains($"node-{Array.IndexOf(nodes, node)}", StringComparison.Ordinal));

        // Visitors at a node that has no tunnel of the device, or is not the one that dies.
        var at = nodes.Where((_, index) => index != killed).First(node => connections == 2 || !holders.Any(holder => holder.Contains($"node-{Array.IndexOf(nodes, node)}", StringComparison.Ordinal)));
        using var visitor = at.CreateVisitor();
        var answers = new List<HttpStatusCode>();
        for (var i = 0; i < 100; i++)
        {
            if (i == 30)
            {
                nodes[killed].Process.Kill();
            }

            using var response = await visitor.GetAsync(at.Url(device));
            answers.Add(response.StatusCode);
        }

        Assert.All(answers, static status => Assert.Equal(HttpStatusCode.OK, status));
    }
}
