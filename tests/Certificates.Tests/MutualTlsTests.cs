using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Tunnel.Agent;
using Tunnel.Protocol.DeviceSide;

namespace Gateway.Tests.Certificates;

/// <summary>A device proves who it is by a certificate of the operator's authority.</summary>
public sealed class MutualTlsTests : IDisposable
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";

    private readonly DeviceAuthority _authority = new();

    public void Dispose() => _authority.Dispose();

    private Task<TestGateway> StartAsync() => TestGateway.StartAsync(new() { ["Tunnels:ClientCaFile"] = _authority.CaFile });

    [Fact]
    public async Task A_certificate_with_the_uuid_takes_the_place_of_the_key()
    {
        await using var gateway = await StartAsync();
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = _authority.StartAgent(gateway, device, _authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication), app.Url);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        using var visitor = gateway.CreateVisitor();

        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"https://{device.Host}/")));
    }

    [Fact]
    public async Task Devices_with_a_key_and_no_certificate_go_on_and_visitors_are_not_asked_for_one()
    {
        await using var gateway = await StartAsync();
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        using var visitor = gateway.CreateVisitor();

        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"https://{visit.Device.Host}/")));
    }

    [Fact]
    public async Task An_agent_shows_the_certificate_that_its_files_hold_when_it_dials()
    {
        await using var gateway = await StartAsync();
        var device = await gateway.AddDeviceAsync();
        var expired = _authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication, DateTimeOffset.UtcNow.AddHours(-1));
        var renewed = _authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication);
        await using var agent = _authority.StartAgent(gateway, device, expired, new Uri("http://127.0.0.1:1"), "device");
        await agent.WaitForOutputAsync("(401)");

        // Half of it: the certificate is not the key's.
        _authority.Write("device", (renewed.Certificate, expired.Key));
        await agent.WaitForOutputAsync("The certificate before stays in use: --cert (GATEWAY_CERT): ");

        _authority.Write("device", renewed);
        await agent.WaitForOutputAsync("is a new one, good until ");
        await agent.WaitForOutputAsync("Tunnel up");
    }

    [Fact]
    public async Task A_tunnel_stays_when_the_device_shows_another_certificate_for_the_next_one()
    {
        await using var gateway = await StartAsync();
        var device = await gateway.AddDeviceAsync();
        using var first = Load(_authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication));
        using var second = Load(_authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication));
        var (shown, dials) = (first, 0);
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseDeviceTunnel(tunnel =>
        {
            (tunnel.Gateway, tunnel.Uuid, tunnel.TrustedRoots) = (new Uri($"https://tunnel.{TestGateway.Domain}:{gateway.HttpsPort}"), device.Uuid, [TestCertificates.Shared.Authority]);
            tunnel.ClientCertificate = () =>
            {
                Interlocked.Increment(ref dials);
                return Volatile.Read(ref shown);
            };

            // The node wants one tunnel: the other is dialled again and again.
            (tunnel.Connections, tunnel.ReconnectDelay, tunnel.MaxReconnectDelay) = (2, TimeSpan.FromMilliseconds(50), TimeSpan.FromMilliseconds(200));
        });
        await using var app = builder.Build();
        app.Run(static context => context.Response.WriteAsync("here"));
        await app.StartAsync();
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        var tunnel = gateway.Tunnels.Find(device.Uuid);

        Volatile.Write(ref shown, second);
        var before = Volatile.Read(ref dials);
        await Eventually.TrueAsync(() => Volatile.Read(ref dials) >= before + 3, "it has dialled with the other one");

        using var visitor = gateway.CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"https://{device.Host}/")));
        Assert.Same(tunnel, gateway.Tunnels.Find(device.Uuid));
    }

    private static X509Certificate2 Load((string Certificate, string Key) pair)
    {
        using var loaded = X509Certificate2.CreateFromPem(pair.Certificate, pair.Key);
        return X509CertificateLoader.LoadPkcs12(loaded.Export(X509ContentType.Pfx), null);
    }

    [Theory]
    [InlineData("another device")]
    [InlineData("another authority")]
    [InlineData("another purpose")]
    [InlineData("expired")]
    [InlineData("no such device")]
    public async Task What_does_not_prove_it_is_refused(string wrong)
    {
        await using var gateway = await StartAsync();
        using var stranger = new TestPki();
        var (device, other) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        var asked = wrong == "no such device" ? new TestDevice(global::Tunnel.Protocol.DeviceUuid.New(), "") : device;
        var pair = wrong switch
        {
            "another device" => _authority.Pki.Issue([$"{other.Uuid}"], ClientAuthentication),
            "another authority" => stranger.Issue([$"{device.Uuid}"], ClientAuthentication),
            "another purpose" => _authority.Pki.Issue([$"{device.Uuid}"], ServerAuthentication),
            "expired" => _authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication, DateTimeOffset.UtcNow.AddHours(-1)),
            _ => _authority.Pki.Issue([$"{asked.Uuid}"], ClientAuthentication),
        };
        await using var agent = _authority.StartAgent(gateway, asked, pair, new Uri("http://127.0.0.1:1"));

        await agent.WaitForOutputAsync("(401)");
        Assert.Null(gateway.Tunnels.Find(asked.Uuid));
    }
}
