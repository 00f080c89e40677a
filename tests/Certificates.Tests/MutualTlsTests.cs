using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Agent;

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
