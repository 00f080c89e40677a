using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Lifecycle;

/// <summary>Gateway and agent as processes: what is killed, frozen or stopped is named to visitors, and comes back by itself.</summary>
public sealed class ProcessTests
{
    private static async Task<(HttpStatusCode Status, string Body)> GetAsync(HttpClient visitor, string url)
    {
        using var response = await visitor.GetAsync(url);
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    private static Task UntilAsync(HttpClient visitor, string url, HttpStatusCode status, string text) => Eventually.TrueAsync(
        async () => await GetAsync(visitor, url) is var (got, body) && got == status && body.Contains(text, StringComparison.Ordinal), $"{(int)status} with \"{text}\"");

    private static Task<TestApp> StartAppAsync() => TestApp.StartAsync(static context => context.Response.WriteAsync("here"));

    [Fact]
    public async Task A_killed_agent_means_offline_until_there_is_one_again()
    {
        await using var app = await StartAppAsync();
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        await using var agent = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");

        agent.Kill();
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.ServiceUnavailable, "device-offline");

        await using var again = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");
        Assert.DoesNotContain("fail:", gateway.Process.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_application_that_is_gone_means_that_nothing_listens_until_there_is_one_again()
    {
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        var port = RedisServer.FreePort();
        await using var agent = gateway.StartAgent(device, $"http://127.0.0.1:{port}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.BadGateway, "nothing-listens");

        for (var round = 0; round < 2; round++)
        {
            await using var app = ChildProcess.Start("node", ["-e", $"require('http').createServer((q, r) => r.end('here')).listen({port}, '127.0.0.1')"]);
            await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");
            app.Kill();
            await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.BadGateway, "nothing-listens");
        }
    }

    [Fact]
    public async Task A_killed_gateway_finds_its_devices_again()
    {
        await using var app = await StartAppAsync();
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        await using var agent = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");

        gateway.Process.Kill();
        await gateway.RestartAsync();

        // The embedded store has kept the device through the kill, and the agent dials until it is back.
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");
    }

    [Fact]
    public async Task A_frozen_agent_is_noticed_and_the_newest_tunnel_wins()
    {
        await using var app = await StartAppAsync();
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        await using var agent = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");

        agent.Signal("STOP");
        var (status, body) = await GetAsync(visitor, gateway.Url(device));
        Assert.Contains((status, body.Contains("tunnel-lost", StringComparison.Ordinal)), new[] { (HttpStatusCode.BadGateway, true) });

        agent.Signal("CONT");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");

        // Another agent of the same device, while the first is frozen: requests go to the newest at once.
        agent.Signal("STOP");
        await using var newest = gateway.StartAgent(device, $"{app.Url}");
        await newest.WaitForOutputAsync("Tunnel up");
        Assert.Equal((HttpStatusCode.OK, "here"), await GetAsync(visitor, gateway.Url(device)));
    }

    [Fact]
    public async Task SIGTERM_ends_agent_and_gateway_with_status_0_and_a_request_in_flight_finishes()
    {
        var asked = new TaskCompletionSource<bool>();
        var mayAnswer = new TaskCompletionSource();
        await using var app = await TestApp.StartAsync(async context =>
        {
            if (context.Request.Path == "/slow")
            {
                asked.TrySetResult(true);
                await mayAnswer.Task;
            }

            await context.Response.WriteAsync("whole");
        });
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        await using var agent = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "whole");

        var slow = GetAsync(visitor, gateway.Url(device, "/slow"));
        await Eventually.ResultAsync(asked.Task, "the request");
        gateway.Process.Signal("TERM");
        await gateway.Process.WaitForOutputAsync("Stopping: requests in flight");
        mayAnswer.SetResult();
        Assert.Equal((HttpStatusCode.OK, "whole"), await slow);
        Assert.Equal(0, await gateway.Process.WaitForExitAsync());

        agent.Signal("TERM");
        Assert.Equal(0, await agent.WaitForExitAsync());
        Assert.EndsWith("stopped", agent.Output.TrimEnd(), StringComparison.Ordinal);
        Assert.DoesNotContain("fail:", gateway.Process.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ctrl_C_ends_an_agent_that_has_no_gateway_to_talk_to()
    {
        await using var agent = ChildProcess.StartOwn(
            "gateway-agent", ["--gateway", $"http://127.0.0.1:{RedisServer.FreePort()}", "--uuid", "0123456789abcdef0123456789abcdef"], new() { ["GATEWAY_KEY"] = "k" });
        await agent.WaitForOutputAsync("refused");

        agent.Signal("INT");

        Assert.Equal(0, await agent.WaitForExitAsync());
    }

    [Fact]
    public async Task An_agent_that_is_process_1_ends_at_SIGTERM_and_leaves_no_zombie()
    {
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();

        // As in a container: a process namespace whose first process it is; the kernel gives such a process no default action for signals.
        await using var agent = ChildProcess.Start(
            "unshare", ["--pid", "--fork", "--mount-proc", "dotnet", Path.Combine(AppContext.BaseDirectory, "gateway-agent.dll"), "--gateway", gateway.TunnelAddress, "--uuid", $"{device.Uuid}"],
            new() { ["GATEWAY_KEY"] = device.Key });
        await agent.WaitForOutputAsync("Tunnel up");

        var inside = (await File.ReadAllTextAsync($"/proc/{agent.Id}/task/{agent.Id}/children")).Trim();
        Assert.Equal("1", (await File.ReadAllLinesAsync($"/proc/{inside}/status")).First(static line => line.StartsWith("NSpid:", StringComparison.Ordinal)).Split('\t')[^1]);
        using var kill = System.Diagnostics.Process.Start("kill", ["-TERM", inside]);
        await kill.WaitForExitAsync();

        Assert.Equal(0, await agent.WaitForExitAsync());
        Assert.EndsWith("stopped", agent.Output.TrimEnd(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nothing_is_left_of_a_thousand_reconnects()
    {
        await using var app = await StartAppAsync();
        await using var gateway = await GatewayProcess.StartAsync(null, "Limits:Device:ConnectsPerMinute=0");
        var device = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();

        // Half of the tunnels have served a request, half have not; a quarter ends by a reset.
        async Task ReconnectAsync(int i)
        {
            var socket = new System.Net.Sockets.Socket(System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Tcp) { NoDelay = true };
            await socket.ConnectAsync(IPAddress.Loopback, gateway.Port);
            await using var connection = new RawConnection(new System.Net.Sockets.NetworkStream(socket, ownsSocket: true));
            await connection.SendAsync(
                $"GET /v1/devices/{device.Uuid}/tunnel HTTP/1.1\r\nHost: tunnel.localhost:{gateway.Port}\r\nConnection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\n" +
                $"Authorization: Bearer {device.Key}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 101 ", await connection.ReadHeadAsync(), StringComparison.Ordinal);
            if (i % 2 == 0)
            {
                await connection.SendAsync("\0\0\0\u0004\0\0\0\0\0"); // an empty SETTINGS frame
            }

            if (i % 4 == 0)
            {
                socket.LingerState = new System.Net.Sockets.LingerOption(true, 0);
            }
        }

        for (var i = 0; i < 50; i++)
        {
            await ReconnectAsync(i);
        }

        await Eventually.TrueAsync(async () => (await GetAsync(visitor, gateway.Url(device))).Status == HttpStatusCode.ServiceUnavailable, "the device is offline");
        // The runtime opens a handful of its own as time goes on; a leak of any kind would be hundreds.
        var limit = GatewayProcess.Descriptors(gateway.Process) + 20;
        for (var i = 0; i < 1000; i++)
        {
            await ReconnectAsync(i);
        }

        await Eventually.TrueAsync(() => GatewayProcess.Descriptors(gateway.Process) <= limit, $"the gateway has no more than {limit} descriptors; it has {GatewayProcess.Descriptors(gateway.Process)}");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await GetAsync(visitor, gateway.Url(device))).Status);
        await using var agent = gateway.StartAgent(device, $"{app.Url}");
        await UntilAsync(visitor, gateway.Url(device), HttpStatusCode.OK, "here");
        Assert.DoesNotContain("fail:", gateway.Process.Output, StringComparison.Ordinal);
    }
}
