using Gateway.Tests.Harness;

namespace Gateway.Tests.Telemetry;

/// <summary>Metrics and logs, as a receiver of OTLP gets them.</summary>
public sealed class OtlpTests
{
    [Fact]
    public async Task Metrics_and_log_messages_reach_the_receiver()
    {
        await using var receiver = await OtlpReceiver.StartAsync();
        await using var gateway = await GatewayProcess.StartAsync(
            null, $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Otlp:MetricsInterval=00:00:01", "Telemetry:Traces:Ratio=1",
            "Telemetry:Logs:Otlp=true", "Telemetry:AccessLog:Enabled=true", "Telemetry:AccessLog:Addresses=Network", "Telemetry:Prometheus=false");
        var device = (await gateway.AddDevicesAsync(1))[0];
        using var visitor = gateway.CreateVisitor();
        using var response = await visitor.GetAsync(gateway.Url(device, "/some/path?token=secret"), TestContext.Current.CancellationToken);

        await Eventually.TrueAsync(() => receiver.Metrics.ContainsKey("gateway.requests.failed") && receiver.Metrics.ContainsKey("http.server.request.duration"), "metrics have arrived");
        Assert.Equal("{request}", receiver.Metrics["gateway.requests.failed"]);
        Assert.Equal("s", receiver.Metrics["http.server.request.duration"]);
        await Eventually.TrueAsync(() => receiver.Logs.Any(static log => log.Category == "Gateway.AccessLog"), "the access log has arrived");
        var line = receiver.Logs.First(static log => log.Category == "Gateway.AccessLog");
        Assert.Equal(
            ["127.0.0.0", $"{device.Uuid}", "-", "device-offline", "GET", "/some/path", "HTTP/1.1", "503"],
            new[] { "ClientAddress", "Device", "UserAgent", "Failure", "Method", "Path", "Protocol", "Status" }.Select(name => line.Attributes[name] is { Length: > 0 } value ? value : "-"));
        Assert.Equal(line.TraceId, line.Attributes["TraceId"]);

        // The endpoint for Prometheus was switched off.
        using var admin = new HttpClient();
        using var metrics = await admin.GetAsync($"http://127.0.0.1:{gateway.AdminPort}/metrics", TestContext.Current.CancellationToken);
        Assert.Equal(System.Net.HttpStatusCode.NotFound, metrics.StatusCode);
    }

    [Fact]
    public async Task A_receiver_that_is_away_does_no_harm()
    {
        await using var gateway = await GatewayProcess.StartAsync(
            null, $"Telemetry:Otlp:Endpoint=http://127.0.0.1:{RedisServer.FreePort()}", "Telemetry:Otlp:MetricsInterval=00:00:01", "Telemetry:Traces:Ratio=1", "Telemetry:Logs:Otlp=true");
        var device = (await gateway.AddDevicesAsync(1))[0];
        await using var app = await TestApp.StartAsync(static _ => Task.CompletedTask);
        await using var agent = gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority));
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();
        for (var i = 0; i < 200; i++)
        {
            using var response = await visitor.GetAsync(gateway.Url(device), TestContext.Current.CancellationToken);
            Assert.True(response.IsSuccessStatusCode);
        }

        gateway.Process.Signal("TERM");
        Assert.Equal(0, await gateway.Process.WaitForExitAsync());
    }
}
