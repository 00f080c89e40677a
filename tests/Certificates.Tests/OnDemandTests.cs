using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Protocol;

namespace Gateway.Tests.Certificates;

/// <summary>Certificates at first use: a device's own domain, and nobody else's.</summary>
public sealed class OnDemandTests
{
    private static async Task<(int Status, string Output)> CommandAsync(RedisServer redis, params string[] verb)
    {
        await using var command = ChildProcess.StartOwn("gateway", [.. verb, "--set", $"Storage:Redis={redis.ConnectionString}", "--set", $"Edge:Domains:0={TestGateway.Domain}"]);
        return (await command.WaitForExitAsync(), command.Output);
    }

    [Theory]
    [InlineData("Http")]
    [InlineData("TlsAlpn")]
    public async Task A_devices_own_domain_gets_its_certificate_at_the_first_visit_on_every_replica(string challenge)
    {
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        await using var pebble = await PebbleServer.StartAsync(http: http, tls: https);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings(challenge).With(("Storage:Redis", redis.ConnectionString), ("Certificates:OnDemand:Enabled", "true"));
        await using var gateway = await TestGateway.StartAsync(settings.With(("Listen:Http", $"127.0.0.1:{http}"), ("Listen:Https", $"127.0.0.1:{https}")));
        await using var other = await TestGateway.StartAsync(settings);
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync($"for {context.Request.Headers["X-Forwarded-Host"]}"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await TestAgent.StartAsync(gateway, device, app.Url, tls: false);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        Assert.Equal((0, $"domain: kitchen.example.com\nDNS:    kitchen.example.com CNAME {device.Host}.\n"), await CommandAsync(redis, "device", "domain", "add", $"{device.Uuid}", "Kitchen.Example.com"));

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(https, "kitchen.example.com")).IsFor("kitchen.example.com"), "its certificate is there");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(other.HttpsPort, "kitchen.example.com")).IsFor("kitchen.example.com"), "on the other replica as well");

        // One for the gateway's own name, one for the domain, however many asked.
        Assert.Equal(2, pebble.Orders);
        var root = await pebble.RootAsync();
        using var visitor = gateway.CreateVisitor(configure: handler => handler.SslOptions = PebbleServer.Trust(root));
        Assert.Equal("for kitchen.example.com", await visitor.GetStringAsync(new Uri("https://kitchen.example.com/")));

        Assert.Equal((0, "kitchen.example.com\n"), await CommandAsync(redis, "device", "domain", "list", $"{device.Uuid}"));
        Assert.Equal((0, "removed: kitchen.example.com\n"), await CommandAsync(redis, "device", "domain", "remove", $"{device.Uuid}", "kitchen.example.com"));
        await Eventually.TrueAsync(async () => (await visitor.GetAsync(new Uri("https://kitchen.example.com/"))).StatusCode == HttpStatusCode.NotFound, "it leads nowhere any more");
    }

    [Fact]
    public async Task A_device_without_a_wildcard_gets_its_own_and_a_disabled_one_none()
    {
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        await using var pebble = await PebbleServer.StartAsync(http: http, tls: https);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Http").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:OnDemand:Enabled", "true"), ("Listen:Http", $"127.0.0.1:{http}"), ("Listen:Https", $"127.0.0.1:{https}"), ("Certificates:OnDemand:RefusalMemory", "00:00:00.200")));
        var (on, off) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync(publicUrl: false));

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(https, on.Host)).IsFor(on.Host), "the device's certificate is there");
        Assert.False((await Handshake.TryAsync(https, off.Host)).IsFor(off.Host));
        Assert.Equal(2, pebble.Orders);

        await gateway.Devices.SetPublicUrlAsync(off.Uuid, true);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(https, off.Host)).IsFor(off.Host), "enabled, it has one");
    }

    [Theory]
    [InlineData("Certificates:OnDemand:MaxPerHour", "total-budget")]
    [InlineData("Certificates:OnDemand:MaxPerHourAndAddress", "address-budget")]
    public async Task The_budget_bounds_what_clients_can_cause(string key, string said)
    {
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        await using var pebble = await PebbleServer.StartAsync(http: http, tls: https);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(
            pebble.Settings("Http").With(
                ("Storage:Redis", redis.ConnectionString), ("Certificates:OnDemand:Enabled", "true"), ("Listen:Http", $"127.0.0.1:{http}"), ("Listen:Https", $"127.0.0.1:{https}"), (key, "2")),
            LogOf.Kept);
        await Eventually.TrueAsync(() => pebble.Orders == 1, "the gateway has ordered its own");
        for (var i = 0; i < 2; i++)
        {
            var device = await gateway.AddDeviceAsync();
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(https, device.Host)).IsFor(device.Host), "within the budget");
        }

        var late = await gateway.AddDeviceAsync();
        await Eventually.TrueAsync(
            async () => !(await Handshake.TryAsync(https, late.Host)).IsFor(late.Host) && gateway.Log().Any(line => line.Contains(said, StringComparison.Ordinal)), "the budget is used up");
        Assert.Equal(3, pebble.Orders);
    }

    [Fact]
    public async Task The_commands_say_what_is_wrong()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString });
        var (one, two) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());

        Assert.Equal(0, (await CommandAsync(redis, "device", "domain", "add", $"{one.Uuid}", "a.example.com")).Status);
        Assert.Equal(0, (await CommandAsync(redis, "device", "domain", "add", $"{one.Uuid}", "a.example.com")).Status);
        Assert.Equal((1, $"gateway: a.example.com belongs to the device {one.Uuid}: remove it there first.\n"), await CommandAsync(redis, "device", "domain", "add", $"{two.Uuid}", "a.example.com"));
        Assert.Equal((3, $"gateway: a.example.com is no domain of the device {two.Uuid}.\n"), await CommandAsync(redis, "device", "domain", "remove", $"{two.Uuid}", "a.example.com"));
        Assert.Contains("which is the gateway's own", (await CommandAsync(redis, "device", "domain", "add", $"{two.Uuid}", $"x.{TestGateway.Domain}")).Output, StringComparison.Ordinal);
        var unknown = DeviceUuid.New();
        Assert.Equal((3, $"gateway: there is no device {unknown}.\n"), await CommandAsync(redis, "device", "domain", "list", $"{unknown}"));
        foreach (var name in new[] { "*.example.com", "192.0.2.1", "localhost", "a b.example.com", "-" })
        {
            Assert.Equal(2, (await CommandAsync(redis, "device", "domain", "add", $"{one.Uuid}", name)).Status);
        }

        Assert.Equal(0, (await CommandAsync(redis, "device", "domain", "add", $"{one.Uuid}", "bücher.example.com")).Status);
        Assert.Equal((0, "a.example.com\nxn--bcher-kva.example.com\n"), await CommandAsync(redis, "device", "domain", "list", $"{one.Uuid}"));
    }
}
