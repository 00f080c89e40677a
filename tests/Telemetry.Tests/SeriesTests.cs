using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Agent;
using Tunnel.Protocol;

namespace Gateway.Tests.Telemetry;

/// <summary>How many series there are does not depend on how many devices there are, nor on what they or visitors send.</summary>
[Collection(nameof(Alone))]
public sealed class SeriesTests
{
    private const int Few = 20;
    private const int Devices = 500;

    private static readonly string[] Chance = ["dotnet_", "db_client_operation_duration_", "kestrel_connection_duration_"];

    [Fact]
    public async Task Five_hundred_devices_add_no_series()
    {
        await using var gateway = await GatewayProcess.StartAsync(null, "Devices:CacheTtl=00:05:00");
        await using var app = await TestApp.StartAsync(static async context =>
        {
            // Whatever a device may answer with.
            context.Response.StatusCode = int.Parse(context.Request.Query["status"].ToString(), System.Globalization.CultureInfo.InvariantCulture);
            if (context.Request.Query.ContainsKey("abort"))
            {
                context.Abort();
            }

            await context.Response.CompleteAsync();
        });
        using var visitor = gateway.CreateVisitor();
        var devices = await gateway.AddDevicesAsync(Devices);
        await using var first = await ConnectAsync(gateway, devices[0], app);
        await VisitAsync(visitor, gateway, first);
        for (var i = 1; i < Few; i++)
        {
            await using var device = await ConnectAsync(gateway, devices[i], app);
            await VisitAsync(visitor, gateway, device);
        }

        var before = await SeriesAsync(gateway);
        for (var i = Few; i < Devices; i++)
        {
            await using var device = await ConnectAsync(gateway, devices[i], app);
            await VisitAsync(visitor, gateway, device);
        }

        var after = await SeriesAsync(gateway);
        TestContext.Current.TestOutputHelper?.WriteLine($"series with {Few} devices: {before.Count}, after {Devices}: {after.Count}");

        // But for kinds of events that come by chance: a command to Redis, an end of a connection that was not seen before.
        Assert.Equal([], after.Except(before, StringComparer.Ordinal).Where(static series => !Chance.Any(name => series.StartsWith(name, StringComparison.Ordinal))));
        // A label that follows the devices would add one for each of the 480 at the least.
        Assert.InRange(after.Count - before.Count, 0, 250);

        // A device with every status there is, visitors with methods and hosts of their own.
        for (var status = 200; status <= 999; status++)
        {
            using var request = new HttpRequestMessage(new HttpMethod(status % 3 == 0 ? $"M{status}" : "GET"), gateway.Url(first.Device, $"/?status={status}"));
            using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
            Assert.Equal(status, (int)response.StatusCode);
            using var nowhere = await visitor.GetAsync($"http://h{status}.localhost:{gateway.Port}/", TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.NotFound, nowhere.StatusCode);
        }

        var all = await SeriesAsync(gateway);
        var durations = all.Count(static series => series.StartsWith("http_server_request_duration_seconds_count", StringComparison.Ordinal));
        TestContext.Current.TestOutputHelper?.WriteLine($"after 800 statuses and 267 methods: {all.Count} ({durations} of them counts of requests)");
        Assert.InRange(durations, 50, 2 * 62 + 10);
        Assert.InRange(all.Count, after.Count, 3000);
        Assert.DoesNotContain(all, static series => series.Contains("overflow", StringComparison.Ordinal) || series.Contains("=\"999\"", StringComparison.Ordinal) || series.Contains("=\"M", StringComparison.Ordinal) && !series.Contains("=\"Microsoft", StringComparison.Ordinal));
        Assert.DoesNotContain(all, series => series.Contains($"{first.Device.Uuid}", StringComparison.Ordinal) || series.Contains("device.invalid", StringComparison.Ordinal));
    }

    private static async Task VisitAsync(HttpClient visitor, GatewayProcess gateway, ConnectedDevice device)
    {
        using var answered = await visitor.GetAsync(gateway.Url(device.Device, $"/?status=200"), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, answered.StatusCode);
        using var broken = await visitor.GetAsync(gateway.Url(device.Device, "/?status=200&abort=1"), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.BadGateway, broken.StatusCode);
    }

    private static async Task<HashSet<string>> SeriesAsync(GatewayProcess gateway)
    {
        using var admin = new HttpClient();
        var text = await admin.GetStringAsync($"http://127.0.0.1:{gateway.AdminPort}/metrics", TestContext.Current.CancellationToken);
        return [.. text.Split('\n').Where(static line => line.Length > 0 && line[0] != '#').Select(static line => line[..line.LastIndexOf(' ')])];
    }

    private static async Task<ConnectedDevice> ConnectAsync(GatewayProcess gateway, TestDevice device, TestApp app)
    {
        var agent = AgentApplication.Build(new AgentSettings
        {
            Gateway = new Uri(gateway.TunnelAddress), Uuid = device.Uuid, Key = device.Key, Target = app.Url, TargetInsecure = false,
        });
        await agent.StartAsync();
        var connected = new ConnectedDevice(device, agent);
        using var visitor = gateway.CreateVisitor();
        await Eventually.TrueAsync(
            async () =>
            {
                using var response = await visitor.GetAsync(gateway.Url(device, "/?status=200"), TestContext.Current.CancellationToken);
                return response.IsSuccessStatusCode;
            },
            "the device answers");
        return connected;
    }

    private sealed record ConnectedDevice(TestDevice Device, Microsoft.AspNetCore.Builder.WebApplication Agent) : IAsyncDisposable
    {
        public ValueTask DisposeAsync() => Agent.DisposeAsync();
    }
}
