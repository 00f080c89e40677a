using System.Net;
using System.Net.WebSockets;
using Gateway.Cluster;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests;

/// <summary>A node that stops takes leave: its devices are elsewhere before it goes, and nothing is cut.</summary>
public sealed class DepartureTests
{
    private static Task<TestApp> EchoAsync() => TestApp.StartAsync(
        static _ => { },
        static app =>
        {
            app.UseWebSockets();
            app.Run(static async context =>
            {
                if (!context.WebSockets.IsWebSocketRequest)
                {
                    await context.Response.WriteAsync("here");
                    return;
                }

                using var socket = await context.WebSockets.AcceptWebSocketAsync();
                var buffer = new byte[1000];
                while (await socket.ReceiveAsync(buffer, CancellationToken.None) is { MessageType: not WebSocketMessageType.Close } got)
                {
                    await socket.SendAsync(buffer.AsMemory(0, got.Count), got.MessageType, got.EndOfMessage, CancellationToken.None);
                }

                await socket.CloseAsync(socket.CloseStatus!.Value, socket.CloseStatusDescription, CancellationToken.None);
            });
        });

    /// <summary>An agent whose dials go round the nodes, as behind a balancer.</summary>
    private static async Task<(TestAgent Agent, Balancer Balancer)> ConnectAsync(TestCluster cluster, TestDevice device, Uri target, int connections)
    {
        var balancer = new Balancer(cluster.Nodes.Select(static node => node.HttpsPort));
        return (await TestAgent.StartAsync(balancer.Port, device, target, connections), balancer);
    }

    private static async Task CommandAsync(TestCluster cluster, int status, string says, params string[] verb)
    {
        await using var command = ChildProcess.StartOwn("gateway", ["node", .. verb, "--set", $"Storage:Redis={cluster.Redis.ConnectionString}"]);
        Assert.Equal(status, await command.WaitForExitAsync());
        Assert.Contains(says, command.Output, StringComparison.Ordinal);
    }

    private static int Holder(TestCluster cluster, TestDevice device) =>
        cluster.Nodes.Select(static (node, index) => (node, index)).First(one => one.node.Tunnels.Find(device.Uuid) is not null).index;

    [Fact]
    public async Task A_device_keeps_its_tunnels_to_different_nodes()
    {
        await using var app = await EchoAsync();
        await using var cluster = await TestCluster.StartAsync(3);
        var device = await cluster[0].AddDeviceAsync();
        var (agent, balancer) = await ConnectAsync(cluster, device, app.Url, connections: 2);
        await using var balancing = balancer;
        await using var running = agent;

        await Eventually.TrueAsync(() => cluster.Nodes.Count(node => node.Tunnels.Find(device.Uuid) is not null) == 2, "two nodes have a tunnel");

        Assert.All(cluster.Nodes, node => Assert.InRange(node.Tunnels.FindAll(device.Uuid).Length, 0, 1));
    }

    [Fact]
    public async Task A_node_that_stops_sends_its_devices_elsewhere_first_and_no_request_fails()
    {
        await using var app = await EchoAsync();
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Listen:DrainDelay"] = "00:00:01" });
        var device = await cluster[0].AddDeviceAsync();
        var (agent, balancer) = await ConnectAsync(cluster, device, app.Url, connections: 1);
        await using var balancing = balancer;
        await using var running = agent;
        await Eventually.TrueAsync(() => cluster.Nodes.Any(node => node.Tunnels.Find(device.Uuid) is not null), "a node has the tunnel");
        var (leaving, staying) = Holder(cluster, device) == 0 ? (0, 1) : (1, 0);
        await TestCluster.KnowsRoutesAsync(cluster[staying], device.Uuid, 1);
        using var visitor = cluster[staying].CreateVisitor();
        using var stop = new CancellationTokenSource();
        var asking = Task.Run(async () =>
        {
            var answers = new List<(HttpStatusCode, string)>();
            while (!stop.IsCancellationRequested)
            {
                using var response = await visitor.GetAsync($"http://{device.Host}/");
                answers.Add((response.StatusCode, await response.Content.ReadAsStringAsync()));
            }

            return answers;
        });

        await cluster[leaving].StopAsync();

        Assert.NotNull(cluster[staying].Tunnels.Find(device.Uuid));
        Assert.Empty(cluster[leaving].Tunnels.All);
        await stop.CancelAsync();
        var answers = await asking;
        Assert.NotEmpty(answers);
        Assert.All(answers, static answer => Assert.Equal((HttpStatusCode.OK, "here"), answer));
    }

    [Theory]
    [InlineData("1.1", "visitors")]
    [InlineData("2.0", "visitors")]
    [InlineData("1.1", "devices")]
    [InlineData("2.0", "devices")]
    public async Task A_WebSocket_across_a_node_that_stops_gets_a_proper_close(string version, string whose)
    {
        await using var app = await EchoAsync();
        await using var cluster = await TestCluster.StartAsync(2, new() { ["Listen:DrainDelay"] = "00:00:00", ["Listen:DrainTimeout"] = "00:00:06" });
        var device = await cluster[0].AddDeviceAsync();
        await using var agent = await cluster[0].ConnectAsync(device, app.Url);
        await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
        using var invoker = new HttpMessageInvoker(cluster[1].CreateHandler());
        using var socket = new ClientWebSocket { Options = { HttpVersion = Version.Parse(version), HttpVersionPolicy = HttpVersionPolicy.RequestVersionExact } };
        await socket.ConnectAsync(new Uri($"{(version == "2.0" ? "wss" : "ws")}://{device.Host}/"), invoker, CancellationToken.None);
        var buffer = new byte[1000];
        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        _ = await socket.ReceiveAsync(buffer, CancellationToken.None);

        var stopping = cluster[whose == "visitors" ? 1 : 0].StopAsync();
        var last = await Eventually.ResultAsync(socket.ReceiveAsync(buffer, CancellationToken.None), "the close");

        Assert.Equal(WebSocketMessageType.Close, last.MessageType);
        Assert.Equal(WebSocketCloseStatus.EndpointUnavailable, socket.CloseStatus);
        await socket.CloseAsync(socket.CloseStatus!.Value, null, CancellationToken.None);
        await Eventually.EndsAsync(stopping, "the node's end");
    }

    [Fact]
    public async Task An_agent_that_stops_closes_WebSockets_properly()
    {
        await using var app = await EchoAsync();
        await using var cluster = await TestCluster.StartAsync(1);
        var device = await cluster[0].AddDeviceAsync();
        var agent = await cluster[0].ConnectAsync(device, app.Url);
        using var invoker = new HttpMessageInvoker(cluster[0].CreateHandler());
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new Uri($"ws://{device.Host}/"), invoker, CancellationToken.None);

        var stopping = agent.StopAsync();
        _ = await Eventually.ResultAsync(socket.ReceiveAsync(new byte[1000], CancellationToken.None), "the close");

        Assert.Equal(WebSocketCloseStatus.EndpointUnavailable, socket.CloseStatus);
        await socket.CloseAsync(socket.CloseStatus!.Value, null, CancellationToken.None);
        await Eventually.EndsAsync(stopping, "the agent's end");
        await agent.DisposeAsync();
    }

    [Fact]
    public async Task A_node_can_be_drained_and_taken_back_while_it_runs()
    {
        await using var app = await EchoAsync();
        await using var cluster = await TestCluster.StartAsync(2);
        var device = await cluster[0].AddDeviceAsync();
        var (agent, balancer) = await ConnectAsync(cluster, device, app.Url, connections: 1);
        await using var balancing = balancer;
        await using var running = agent;
        await Eventually.TrueAsync(() => cluster.Nodes.Any(node => node.Tunnels.Find(device.Uuid) is not null), "a node has the tunnel");
        var (drained, other) = Holder(cluster, device) == 0 ? (0, 1) : (1, 0);
        var nodes = cluster[drained].Services.GetRequiredService<Nodes>();
        using var admin = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{cluster[drained].AdminPort}") };

        await CommandAsync(cluster, 0, $"draining: {nodes.Id}", "drain", nodes.Id);
        await Eventually.TrueAsync(() => cluster[other].Tunnels.Find(device.Uuid) is not null && !cluster[drained].Tunnels.All.Any(), "the device has moved");
        using var notReady = await admin.GetAsync("/readyz");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, notReady.StatusCode);

        await CommandAsync(cluster, 0, nodes.Id, "list");
        await CommandAsync(cluster, 0, $"resumed: {nodes.Id}", "resume", nodes.Id);
        await CommandAsync(cluster, 3, "there is no node stranger", "drain", "stranger");
        await Eventually.TrueAsync(() => !nodes.IsDraining, "the node takes devices again");
        using var ready = await admin.GetAsync("/readyz");
        Assert.Equal(HttpStatusCode.OK, ready.StatusCode);
    }
}
