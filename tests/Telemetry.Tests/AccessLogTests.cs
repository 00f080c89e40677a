using System.Net;
using System.Text.Json;
using Gateway.Edge;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Telemetry;

/// <summary>The access log on standard output, and what changes while the gateway runs.</summary>
public sealed class AccessLogTests
{
    [Fact]
    public async Task Each_request_is_one_line_of_JSON_refusals_among_them()
    {
        await using var gateway = await GatewayProcess.StartAsync(null, "Telemetry:AccessLog:Enabled=true", "Telemetry:Logs:Format=Json");
        var device = (await gateway.AddDevicesAsync(1))[0];
        await using var app = await TestApp.StartAsync(static async context => await Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, "four"));
        await using var agent = gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority));
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();

        using var request = new HttpRequestMessage(HttpMethod.Post, gateway.Url(device, "/a/b?token=secret"));
        request.Headers.TryAddWithoutValidation("User-Agent", "quote \" and backslash \\");
        request.Headers.TryAddWithoutValidation("Authorization", "Bearer secret");
        request.Headers.TryAddWithoutValidation("Cookie", "a=secret");
        using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
        await using var raw = await RawConnection.OpenAsync(gateway.Port);
        await raw.SendAsync($"GET /refused HTTP/1.1\r\nHost: {device.Uuid}.localhost\r\nContent-Length: +5\r\n\r\n");

        await Eventually.TrueAsync(() => Lines(gateway).Count == 2, "two lines are logged");
        var lines = Lines(gateway);
        var answered = lines.Single(static line => line.GetProperty("Path").GetString() == "/a/b");
        Assert.Equal("127.0.0.1", answered.GetProperty("ClientAddress").GetString());
        Assert.Equal("POST", answered.GetProperty("Method").GetString());
        Assert.Equal($"{device.Uuid}", answered.GetProperty("Device").GetString());
        Assert.Equal(200, answered.GetProperty("Status").GetInt32());
        Assert.Equal("-", answered.GetProperty("Failure").GetString());
        Assert.Equal("quote \" and backslash \\", answered.GetProperty("UserAgent").GetString());
        Assert.True(answered.GetProperty("DurationMs").GetDouble() > 0);
        var refused = lines.Single(static line => line.GetProperty("Path").GetString() == "/refused");
        Assert.Equal((400, "bad-request"), (refused.GetProperty("Status").GetInt32(), refused.GetProperty("Failure").GetString()));
        Assert.DoesNotContain("secret", gateway.Process.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task SIGHUP_changes_log_levels_and_the_access_log_and_a_broken_file_changes_nothing()
    {
        var file = Path.Combine(Directory.CreateTempSubdirectory("gateway-").FullName, "gateway.json");
        await File.WriteAllTextAsync(file, "{}", TestContext.Current.CancellationToken);
        await using var gateway = await GatewayProcess.StartWithAsync(new Dictionary<string, string?> { ["GATEWAY_CONFIG"] = file });
        var device = (await gateway.AddDevicesAsync(1))[0];
        async Task VisitAsync(string path)
        {
            using var visitor = gateway.CreateVisitor();
            using var response = await visitor.GetAsync(gateway.Url(device, path), TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }

        await VisitAsync("/before");
        await ReloadAsync("""{ "Telemetry": { "AccessLog": { "Enabled": true } } }""", "read anew", 1);
        await VisitAsync("/while");
        await gateway.Process.WaitForOutputAsync("/while");
        await ReloadAsync("""{ "Telemetry": { "AccessLog": { "Enabled": """, "not read anew", 1);
        await ReloadAsync("""{ "Telemetry": { "Acceslog": { } } }""", "Telemetry:Acceslog is no setting", 1);
        await VisitAsync("/still");
        await gateway.Process.WaitForOutputAsync("/still");
        await ReloadAsync("""{ "Telemetry": { "AccessLog": { "Enabled": true } }, "Logging": { "LogLevel": { "Microsoft.AspNetCore.Server.Kestrel": "Debug" } } }""", "read anew: log levels", 2);
        await VisitAsync("/more");
        await gateway.Process.WaitForOutputAsync("dbug: Microsoft.AspNetCore.Server.Kestrel");
        await ReloadAsync("{}", "read anew: log levels", 3);
        await VisitAsync("/after");

        Assert.DoesNotContain("/before", gateway.Process.Output, StringComparison.Ordinal);

        // What was taken is written before the end.
        gateway.Process.Signal("TERM");
        Assert.Equal(0, await gateway.Process.WaitForExitAsync());
        Assert.Contains("/more", gateway.Process.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("/after", gateway.Process.Output, StringComparison.Ordinal);
        Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);

        async Task ReloadAsync(string content, string answer, int times)
        {
            await File.WriteAllTextAsync(file, content, TestContext.Current.CancellationToken);
            gateway.Process.Signal("HUP");
            await Eventually.TrueAsync(() => gateway.Process.Output.Split(answer).Length > times, $"the gateway says \"{answer}\"");
        }
    }

    [Theory]
    [InlineData("192.0.2.77", "192.0.2.0")]
    [InlineData("2001:db8:1:2:3:4:5:6", "2001:db8:1::")]
    public void A_masked_address_is_its_network(string address, string network) =>
        Assert.Equal(IPAddress.Parse(network), VisitorAddresses.Mask(IPAddress.Parse(address)));

    private static List<JsonElement> Lines(GatewayProcess gateway) =>
    [
        .. gateway.Process.Output.Split('\n').Where(static line => line.Contains("\"Gateway.AccessLog\"", StringComparison.Ordinal))
            .Select(static line => JsonDocument.Parse(line).RootElement.GetProperty("State")),
    ];
}
