using System.Net;
using System.Net.Http.Json;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Telemetry;

/// <summary>What orchestrators ask.</summary>
public sealed class HealthTests
{
    private sealed record Health(string Status, string[] Reasons);

    [Fact]
    public async Task Readiness_names_what_is_missing_and_liveness_does_not_depend_on_it()
    {
        var port = RedisServer.FreePort();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = $"127.0.0.1:{port}", ["Devices:CacheTtl"] = "00:00:00.500", ["Devices:MaxStaleness"] = "00:00:00.500" }, waitUntilReady: false);

        Assert.Equal(HttpStatusCode.OK, (await AskAsync(gateway, "/healthz")).Status);
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "Redis does not answer."), await AskAsync(gateway, "/readyz"));
        Assert.Equal((HttpStatusCode.ServiceUnavailable, "Redis has not been reached yet."), await AskAsync(gateway, "/startupz"));

        await using var redis = await RedisServer.StartAsync(port);
        await Eventually.TrueAsync(async () => (await AskAsync(gateway, "/startupz")).Status == HttpStatusCode.OK, "the gateway has come up");
        Assert.Equal((HttpStatusCode.OK, ""), await AskAsync(gateway, "/readyz"));

        // Once it has come up it stays so: a Redis that goes away is no reason to start the process anew.
        redis.Kill();
        await Eventually.TrueAsync(async () => (await AskAsync(gateway, "/readyz")).Status == HttpStatusCode.ServiceUnavailable, "the gateway is not ready once what it knows is too old");
        Assert.Equal((HttpStatusCode.OK, ""), await AskAsync(gateway, "/startupz"));
        Assert.Equal(HttpStatusCode.OK, (await AskAsync(gateway, "/healthz")).Status);
    }

    [Fact]
    public async Task A_node_that_serves_what_it_knows_while_Redis_is_away_is_ready()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString });
        Assert.Equal((HttpStatusCode.OK, ""), await AskAsync(gateway, "/readyz"));

        redis.Kill();
        await Eventually.TrueAsync(() => !gateway.Services.GetRequiredService<RedisConnection>().IsConnected, "Redis is lost");

        Assert.Equal((HttpStatusCode.OK, ""), await AskAsync(gateway, "/readyz"));
    }

    [Fact]
    public async Task Without_a_certificate_a_listener_with_TLS_is_not_ready()
    {
        var folder = Directory.CreateTempSubdirectory("gateway-");
        var broken = Path.Combine(folder.FullName, "tls.pem");
        await File.WriteAllTextAsync(broken, "no certificate", TestContext.Current.CancellationToken);
        await using var gateway = await TestGateway.StartAsync(new() { ["Certificates:File"] = broken, ["Certificates:KeyFile"] = broken });

        Assert.Equal((HttpStatusCode.ServiceUnavailable, "There is no certificate for Listen:Https."), await AskAsync(gateway, "/readyz"));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await AskAsync(gateway, "/startupz")).Status);
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task The_command_line_asks_and_answers_by_its_status()
    {
        await using var gateway = await GatewayProcess.StartAsync();
        Assert.Equal((0, "{\"status\":\"ok\",\"reasons\":[]}"), await AskAsync($"http://127.0.0.1:{gateway.AdminPort}/readyz"));
        Assert.Equal(1, (await AskAsync($"http://127.0.0.1:{gateway.AdminPort}/nothing")).Status);
        Assert.Equal(69, (await AskAsync($"http://127.0.0.1:{RedisServer.FreePort()}/readyz")).Status);
        Assert.Equal(2, (await AskAsync("nowhere")).Status);

        static async Task<(int Status, string Output)> AskAsync(string url)
        {
            await using var command = ChildProcess.StartOwn("gateway", ["health", "--url", url]);
            var status = await command.WaitForExitAsync();
            return (status, command.Output.Trim());
        }
    }

    private static async Task<(HttpStatusCode Status, string Reasons)> AskAsync(TestGateway gateway, string path)
    {
        using var client = new HttpClient();
        using var response = await client.GetAsync($"http://127.0.0.1:{gateway.AdminPort}{path}");
        var health = await response.Content.ReadFromJsonAsync<Health>();
        return (response.StatusCode, string.Join(" ", health!.Reasons));
    }
}
