using System.Net;
using System.Text.Json;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;
using Tunnel.Protocol;

namespace Gateway.Tests.Stores;

/// <summary>Redis is the truth; the way of a request is not through it, and its absence is survived.</summary>
public sealed class StoreTests
{
    private static Task<TestApp> AppAsync() => TestApp.StartAsync(static context => context.Response.WriteAsync("here"));

    private static async Task<(HttpStatusCode Status, string Body)> GetAsync(HttpClient client, string url)
    {
        using var response = await client.GetAsync(new Uri(url));
        return (response.StatusCode, await response.Content.ReadAsStringAsync());
    }

    private static Task<(HttpStatusCode Status, string Body)> HealthAsync(TestGateway gateway, string path)
    {
        var client = new HttpClient();
        return GetAsync(client, $"http://127.0.0.1:{gateway.AdminPort}{path}");
    }

    [Fact]
    public async Task Memory_knows_who_is_online_as_soon_as_the_store_does()
    {
        await using var app = await AppAsync();
        await using var gateway = await TestGateway.StartAsync();
        var online = gateway.Services.GetRequiredService<Presence>();
        var (first, second) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        await using (await gateway.ConnectAsync(first, app.Url))
        {
            await IsOnlineAsync(first, true);
            await using var agent = await gateway.ConnectAsync(second, app.Url);
            await IsOnlineAsync(second, true);
        }

        await IsOnlineAsync(first, false);

        Task IsOnlineAsync(TestDevice device, bool expected) =>
            Eventually.TrueAsync(async () => (await online.AllOnlineAsync()).Contains(device.Uuid) == expected, $"online: {expected}");
    }

    [Fact]
    public async Task A_gateway_that_stops_while_it_reads_the_devices_warns_of_nothing()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var operators = await RawConnection.OpenAsync(redis.Port);
        FakeLogCollector log;
        await using (var gateway = await TestGateway.StartAsync(
            new() { ["Storage:Redis"] = redis.ConnectionString, ["Storage:Timeout"] = "00:00:03" }, static builder => builder.Logging.AddFakeLogging()))
        {
            log = gateway.Services.GetFakeLogCollector();
            await gateway.Services.GetRequiredService<DeviceCatalogue>().Loaded;
            var connection = await gateway.Services.GetRequiredService<RedisConnection>().FirstConnected;

            // The word that a device has changed arrives, and what is asked then gets no answer.
            await operators.SendAsync($"PUBLISH devices {DeviceUuid.New()}\r\nCLIENT PAUSE 60000 ALL\r\n");
            await Eventually.TrueAsync(() => connection.GetCounters().Interactive.SentItemsAwaitingResponse > 0, "the gateway asks");
        }

        Assert.DoesNotContain(log.GetSnapshot(), static line => line.Level >= LogLevel.Warning && line.Category!.Contains(nameof(DeviceCatalogue), StringComparison.Ordinal));
    }

    [Fact]
    public async Task Without_Redis_a_gateway_starts_says_so_and_is_ready_once_there_is_one()
    {
        var port = RedisServer.FreePort();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = $"127.0.0.1:{port}" }, waitUntilReady: false);
        using var visitor = gateway.CreateVisitor();

        Assert.Equal(HttpStatusCode.OK, (await HealthAsync(gateway, "/healthz")).Status);
        var (status, body) = await HealthAsync(gateway, "/readyz");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, status);
        Assert.Equal("Redis does not answer.", JsonDocument.Parse(body).RootElement.GetProperty("reasons")[0].GetString());

        var (visit, problem) = await GetAsync(visitor, $"http://{DeviceUuid.New()}.{TestGateway.Domain}/");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, visit);
        Assert.Contains("store-unavailable", problem, StringComparison.Ordinal);

        await using (var device = await RawConnection.OpenAsync(gateway.HttpPort))
        {
            await device.SendAsync(
                $"GET /v1/devices/{DeviceUuid.New()}/tunnel HTTP/1.1\r\nHost: tunnel.{TestGateway.Domain}\r\nConnection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer k\r\n\r\n");
            var refusal = await device.ReadToEndAsync();
            Assert.StartsWith("HTTP/1.1 503 ", refusal, StringComparison.Ordinal);
            Assert.Contains("\r\nRetry-After: ", refusal, StringComparison.Ordinal);
        }

        await using var redis = await RedisServer.StartAsync(port);
        await Eventually.TrueAsync(async () => (await HealthAsync(gateway, "/readyz")).Status == HttpStatusCode.OK, "ready");
        await using var visited = await Visit.ToAsync(gateway, await AppAsync());
        Assert.Equal((HttpStatusCode.OK, "here"), await GetAsync(visitor, $"http://{visited.Device.Host}/"));
    }

    [Fact]
    public async Task While_Redis_is_away_known_devices_are_served_and_afterwards_changes_are_seen()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString, ["Devices:CacheTtl"] = "00:00:00.050" });
        await using var visit = await Visit.ToAsync(gateway, await AppAsync());
        using var visitor = gateway.CreateVisitor();
        var url = $"http://{visit.Device.Host}/";
        Assert.Equal((HttpStatusCode.OK, "here"), await GetAsync(visitor, url));

        redis.Kill();
        await Eventually.TrueAsync(() => !gateway.Services.GetRequiredService<RedisConnection>().IsConnected, "Redis is away");
        Assert.Equal(HttpStatusCode.OK, (await HealthAsync(gateway, "/readyz")).Status); // a balancer goes on sending visitors

        // Long after its time to live the record still serves visitors, and the device may dial again.
        for (var i = 0; i < 20; i++)
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
            Assert.Equal((HttpStatusCode.OK, "here"), await GetAsync(visitor, url));
        }

        await using (await TestAgent.StartAsync(gateway, visit.Device, new Uri("http://127.0.0.1:1")))
        {
            await Eventually.TrueAsync(async () => (await GetAsync(visitor, url)).Body.Contains("nothing-listens", StringComparison.Ordinal), "the newer tunnel is used");
        }

        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await GetAsync(visitor, $"http://{DeviceUuid.New()}.{TestGateway.Domain}/")).Status);

        await redis.RestartAsync();
        await Eventually.TrueAsync(() => gateway.Services.GetRequiredService<RedisConnection>().IsConnected, "Redis is back");
        Assert.True(await gateway.Devices.SetPublicUrlAsync(visit.Device.Uuid, false));
        await Eventually.TrueAsync(async () => (await GetAsync(visitor, url)).Status == HttpStatusCode.NotFound, "the change is seen");
    }

    [Fact]
    public async Task What_is_too_old_is_not_believed_any_more()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Storage:Redis"] = redis.ConnectionString, ["Devices:CacheTtl"] = "00:00:00.050", ["Devices:MaxStaleness"] = "00:00:00.500",
        });
        await using var visit = await Visit.ToAsync(gateway, await AppAsync());
        using var visitor = gateway.CreateVisitor();

        redis.Kill();

        await Eventually.TrueAsync(
            async () => await GetAsync(visitor, $"http://{visit.Device.Host}/") is (HttpStatusCode.ServiceUnavailable, var body) && body.Contains("store-unavailable", StringComparison.Ordinal),
            "the record is too old");
    }

    [Fact]
    public async Task A_change_written_straight_to_Redis_is_seen_and_ends_open_streams()
    {
        var opened = new TaskCompletionSource<CancellationToken>();
        await using var app = await TestApp.StartAsync(async context =>
        {
            if (context.Request.Path == "/stream")
            {
                await context.Response.Body.FlushAsync();
                opened.TrySetResult(context.RequestAborted);
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        });
        await using var gateway = await TestGateway.StartAsync(new() { ["Devices:CacheTtl"] = "00:00:00.200" });
        await using var visit = await Visit.ToAsync(gateway, app.Url);
        using var visitor = gateway.CreateVisitor();
        var database = gateway.Services.GetRequiredService<RedisConnection>().Database;
        var key = $"device:{{{visit.Device.Uuid}}}";

        using var stream = await visitor.GetAsync(new Uri($"http://{visit.Device.Host}/stream"), HttpCompletionOption.ResponseHeadersRead);
        var aborted = await Eventually.ResultAsync(opened.Task, "the stream");
        await database.HashSetAsync(key, "public_url", "0");

        // Nobody asks for the device meanwhile: the open stream itself keeps its record watched.
        await Assert.ThrowsAnyAsync<Exception>(async () => await (await stream.Content.ReadAsStreamAsync()).ReadExactlyAsync(new byte[1]));
        await Eventually.TrueAsync(() => aborted.IsCancellationRequested, "the application learns it");
        Assert.Equal(HttpStatusCode.NotFound, (await GetAsync(visitor, $"http://{visit.Device.Host}/")).Status);

        await database.HashSetAsync(key, "public_url", "1");
        await Eventually.TrueAsync(async () => (await GetAsync(visitor, $"http://{visit.Device.Host}/")).Status == HttpStatusCode.OK, "switched on again");

        await database.KeyDeleteAsync(key);
        await Eventually.TrueAsync(async () => (await GetAsync(visitor, $"http://{visit.Device.Host}/")).Status == HttpStatusCode.NotFound, "the device is gone");
    }

    [Theory]
    [InlineData("true")]
    [InlineData("yes")]
    [InlineData("01")]
    [InlineData("")]
    public async Task Whatever_is_not_1_is_off(string flag)
    {
        await using var gateway = await TestGateway.StartAsync();
        var device = await gateway.AddDeviceAsync(publicUrl: false);
        using var visitor = gateway.CreateVisitor();

        await gateway.Services.GetRequiredService<RedisConnection>().Database.HashSetAsync($"device:{{{device.Uuid}}}", "public_url", flag);

        Assert.Equal(HttpStatusCode.NotFound, (await GetAsync(visitor, $"http://{device.Host}/")).Status);
    }

    [Fact]
    public async Task A_change_through_the_store_is_seen_at_once_however_long_records_are_kept()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Devices:CacheTtl"] = "00:05:00" });
        await using var visit = await Visit.ToAsync(gateway, await AppAsync());
        using var visitor = gateway.CreateVisitor();
        Assert.Equal(HttpStatusCode.OK, (await GetAsync(visitor, $"http://{visit.Device.Host}/")).Status);

        await gateway.Devices.SetPublicUrlAsync(visit.Device.Uuid, false);

        await Eventually.TrueAsync(async () => (await GetAsync(visitor, $"http://{visit.Device.Host}/")).Status == HttpStatusCode.NotFound, "switched off");
    }

    [Fact]
    public async Task Visits_ask_Redis_nothing()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Devices:CacheTtl"] = "00:05:00" });
        await using var visit = await Visit.ToAsync(gateway, await AppAsync());
        using var visitor = gateway.CreateVisitor();
        var url = $"http://{visit.Device.Host}/";
        await GetAsync(visitor, url);
        var multiplexer = await gateway.Services.GetRequiredService<RedisConnection>().FirstConnected;

        var before = multiplexer.OperationCount;
        for (var i = 0; i < 300; i++)
        {
            Assert.Equal(HttpStatusCode.OK, (await GetAsync(visitor, url)).Status);
        }

        // A question for each visit would be 300; the rest is what the node writes by the clock, however long this has taken.
        Assert.InRange(multiplexer.OperationCount - before, 0, 150);
    }

    [Fact]
    public async Task Of_two_that_add_the_same_device_one_wins_whole()
    {
        await using var gateway = await TestGateway.StartAsync();
        var uuid = DeviceUuid.New();
        var keys = Enumerable.Range(0, 10).Select(static _ => DeviceKeyHash.New().Hash).ToArray();

        var won = await Task.WhenAll(keys.Select((key, i) => gateway.Devices.AddAsync(uuid, key, $"name {i}", publicUrl: false)));

        var winner = Array.IndexOf(won, true);
        Assert.Equal(1, won.Count(static added => added));
        var record = (await gateway.Devices.FindAsync(uuid))!;
        Assert.Equal((keys[winner].ToString(), $"name {winner}"), (record.Keys[0].Hash.ToString(), record.Name));
    }

    [Fact]
    public async Task An_unknown_device_cannot_be_switched()
    {
        await using var gateway = await TestGateway.StartAsync();
        var uuid = DeviceUuid.New();

        Assert.False(await gateway.Devices.SetPublicUrlAsync(uuid, true));
        Assert.Null(await gateway.Devices.FindAsync(uuid));
    }
}
