using System.Net;
using System.Net.WebSockets;
using System.Security.Cryptography;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Lifecycle;

/// <summary>The protocol is standard HTTP/2: an agent of a few lines in another language serves visitors.</summary>
public sealed class NodeAgentTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private async Task<(TestDevice Device, ChildProcess Agent)> StartAsync(Uri target)
    {
        var device = await Gateway.AddDeviceAsync();
        var agent = ChildProcess.Start("node", [Repository.File("tests/node-agent/agent.mjs")], new()
        {
            // Node's resolver does not know names below localhost.
            ["GATEWAY_URL"] = $"http://localhost:{Gateway.HttpPort}",
            ["GATEWAY_UUID"] = device.Uuid.ToString(),
            ["GATEWAY_KEY"] = device.Key,
            ["GATEWAY_TARGET"] = target.GetLeftPart(UriPartial.Authority),
            ["GATEWAY_HOST"] = $"tunnel.{TestGateway.Domain}",
        });
        await Eventually.TrueAsync(() => Gateway.Tunnels.Find(device.Uuid) is not null, "the Node agent's tunnel is up");
        return (device, agent);
    }

    [Fact]
    public async Task A_request_and_its_body_cross_and_come_back()
    {
        await using var app = await TestApp.StartAsync(async context =>
        {
            context.Response.Headers["X-Seen"] = $"{context.Request.Method} {context.Request.Path}{context.Request.QueryString}";
            await context.Request.Body.CopyToAsync(context.Response.Body);
        });
        var (device, agent) = await StartAsync(app.Url);
        await using var _ = agent;
        using var visitor = Gateway.CreateVisitor();
        var sent = RandomNumberGenerator.GetBytes(300_000);

        using var response = await visitor.PostAsync($"http://{device.Host}/a?b=c", new ByteArrayContent(sent));

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("POST /a?b=c", Assert.Single(response.Headers.GetValues("X-Seen")));
        Assert.Equal(sent, await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task A_hundred_requests_are_under_way_at_once()
    {
        var arrived = 0;
        var all = new TaskCompletionSource();
        await using var app = await TestApp.StartAsync(async context =>
        {
            if (Interlocked.Increment(ref arrived) == 100)
            {
                all.SetResult();
            }

            await all.Task;
            await context.Response.WriteAsync("ok");
        });
        var (device, agent) = await StartAsync(app.Url);
        await using var _ = agent;
        using var visitor = Gateway.CreateVisitor();

        var answers = await Task.WhenAll(Enumerable.Range(0, 100).Select(_ => visitor.GetStringAsync($"http://{device.Host}/")));

        Assert.All(answers, static answer => Assert.Equal("ok", answer));
    }

    [Fact]
    public async Task An_application_that_does_not_listen_has_its_name()
    {
        var (device, agent) = await StartAsync(new Uri($"http://127.0.0.1:{RedisServer.FreePort()}"));
        await using var _ = agent;
        using var visitor = Gateway.CreateVisitor();

        using var response = await visitor.GetAsync($"http://{device.Host}/");

        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Contains("nothing-listens", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_web_socket_echoes()
    {
        await using var app = await TestApp.StartAsync(
            static _ => { },
            static app =>
            {
                app.UseWebSockets();
                app.Run(static async context =>
                {
                    using var socket = await context.WebSockets.AcceptWebSocketAsync();
                    var buffer = new byte[1024];
                    var received = await socket.ReceiveAsync(buffer.AsMemory(), context.RequestAborted);
                    await socket.SendAsync(buffer.AsMemory(0, received.Count), received.MessageType, true, context.RequestAborted);
                    await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "done", context.RequestAborted);
                });
            });
        var (device, agent) = await StartAsync(app.Url);
        await using var _ = agent;
        using var socket = new ClientWebSocket();
        using var invoker = new HttpMessageInvoker(Gateway.CreateHandler());
        await socket.ConnectAsync(new Uri($"ws://{device.Host}/"), invoker, TestContext.Current.CancellationToken);

        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, TestContext.Current.CancellationToken);
        var buffer = new byte[1024];
        var received = await socket.ReceiveAsync(buffer.AsMemory(), TestContext.Current.CancellationToken);

        Assert.Equal("hello"u8.ToArray(), buffer[..received.Count]);
    }

    [Fact]
    public async Task The_agent_dials_again_when_its_tunnel_ends()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("ok"));
        var (device, agent) = await StartAsync(app.Url);
        await using var _ = agent;
        var first = Gateway.Tunnels.Find(device.Uuid)!;

        await first.Client.DisposeAsync();
        await Eventually.TrueAsync(() => Gateway.Tunnels.Find(device.Uuid) is { } tunnel && tunnel != first, "there is another tunnel");

        using var visitor = Gateway.CreateVisitor();
        Assert.Equal("ok", await visitor.GetStringAsync($"http://{device.Host}/"));
    }

    [Fact]
    public void The_agent_has_fewer_than_sixty_lines() =>
        Assert.True(File.ReadAllLines(Repository.File("tests/node-agent/agent.mjs")).Length < 60);
}
