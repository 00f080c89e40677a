using System.Diagnostics.Metrics;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;
using StackExchange.Redis;

namespace Gateway.Tests.Certificates;

/// <summary>Certificates are ordered from a real ACME server that is in a bad mood.</summary>
public sealed class AcmeTests
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;

    [Fact]
    public async Task A_wildcard_is_issued_by_the_gateways_own_name_server_and_curl_verifies_a_device_through_its_tunnel()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the wildcard is served");

        var root = Path.GetTempFileName();
        await File.WriteAllTextAsync(root, (await pebble.RootAsync()).ExportCertificatePem());
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("from the device"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await TestAgent.StartAsync(gateway, device, app.Url, tls: false);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        await using var curl = ChildProcess.Start(
            "curl", ["--silent", "--show-error", "--fail", "--cacert", root, "--resolve", $"{device.Host}:{gateway.HttpsPort}:127.0.0.1", $"https://{device.Host}:{gateway.HttpsPort}/"]);

        Assert.Equal(0, await curl.WaitForExitAsync());
        Assert.Equal("from the device", curl.Output.Trim());
        Assert.Equal(1, pebble.Orders);
        File.Delete(root);
    }

    [Fact]
    public async Task A_name_that_is_added_to_the_configuration_is_in_the_certificate_after_the_next_start()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:Names:0", "*.gateway.localhost"));
        await using (var before = await TestGateway.StartAsync(settings))
        {
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(before.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
            Assert.False((await Handshake.TryAsync(before.HttpsPort, "gateway.localhost")).IsFor("gateway.localhost"));
        }

        await using var after = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Names:1", "gateway.localhost")));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(after.HttpsPort, "gateway.localhost")).IsFor("gateway.localhost"), "the new one is served");
        Assert.True((await Handshake.TryAsync(after.HttpsPort, AnyDevice)).IsFor(AnyDevice));
        Assert.Equal(2, pebble.Orders);
    }

    [Fact]
    public async Task What_operators_watch_is_measured()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")));
        var meters = gateway.Services.GetRequiredService<IMeterFactory>();
        using var orders = new MetricCollector<long>(meters, "Gateway", "gateway.certificates.orders");
        using var expiry = new MetricCollector<double>(meters, "Gateway", "gateway.certificates.expiry");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");

        expiry.RecordObservableInstruments();
        var left = expiry.LastMeasurement!;
        Assert.InRange(left.Value, TimeSpan.FromDays(5.9).TotalSeconds, TimeSpan.FromDays(6).TotalSeconds);
        Assert.Equal(TestGateway.Domain, left.Tags["gateway.certificate"]);
        var order = Assert.Single(orders.GetMeasurementSnapshot());
        Assert.Equal("localhost", order.Tags["server.address"]);
        Assert.False(order.ContainsTags("error.type"));
    }

    [Theory]
    [InlineData("Http")]
    [InlineData("TlsAlpn")]
    public async Task Of_two_replicas_one_orders_the_other_answers_the_check_and_both_serve(string challenge)
    {
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        await using var pebble = await PebbleServer.StartAsync(http: http, tls: https);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings(challenge).With(("Storage:Redis", redis.ConnectionString));

        // The server checks at the second replica alone, and that one does not order: when it looks for work the test has the lease.
        var name = $"tunnel.{TestGateway.Domain}";
        await using var multiplexer = await ConnectionMultiplexer.ConnectAsync(redis.ConnectionString);
        Assert.True(await multiplexer.GetDatabase().LockTakeAsync($"acme:lease:{{{name}}}", "the test", TimeSpan.FromMinutes(5)));
        await using var second = await TestGateway.StartAsync(settings.With(
            ("Listen:Http", $"127.0.0.1:{http}"), ("Listen:Https", $"127.0.0.1:{https}"), ("Certificates:Acme:PollInterval", "01:00:00")));
        await Eventually.TrueAsync(async () => await multiplexer.GetSubscriber().PublishAsync(RedisChannel.Literal("certificates"), "nothing") == 1, "the second listens to changes");
        await using var first = await TestGateway.StartAsync(settings);
        await multiplexer.GetDatabase().KeyDeleteAsync($"acme:lease:{{{name}}}");

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(first.HttpsPort, name)).IsFor(name), "the first serves it");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(second.HttpsPort, name)).IsFor(name), "the second serves it");
        Assert.Equal((await Handshake.TryAsync(first.HttpsPort, name))!.Thumbprint, (await Handshake.TryAsync(second.HttpsPort, name))!.Thumbprint);
        Assert.Equal(1, pebble.Orders);
    }

    [Fact]
    public async Task Two_replicas_that_start_together_make_one_order()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString));
        var starting = new[] { dns, RedisServer.FreePort() }.Select(port => TestGateway.StartAsync(settings.With(("Certificates:Acme:Dns:Listen", $"127.0.0.1:{port}")))).ToArray();
        await using var first = await starting[0];
        await using var second = await starting[1];

        foreach (var gateway in new[] { first, second })
        {
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        }

        Assert.Equal((await Handshake.TryAsync(first.HttpsPort, AnyDevice))!.Thumbprint, (await Handshake.TryAsync(second.HttpsPort, AnyDevice))!.Thumbprint);
        Assert.Equal(1, pebble.Orders);
    }
}
