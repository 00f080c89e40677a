using System.Net;
using Gateway.Admin.Tokens;
using Gateway.Tests.Harness;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>The domains that devices have of their own, by the API.</summary>
public sealed class DomainTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private static string NewDomain() => $"d{Guid.NewGuid():N}.example.com";

    [Fact]
    public async Task A_domain_is_added_leads_to_its_device_and_is_removed()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        await using var app = await TestApp.StartAsync(static context => Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(context.Response, "here"));
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor();
        var (path, domain) = ($"/api/v1/devices/{visit.Device.Uuid}/domains", NewDomain());

        var added = (await someone.SendAsync(HttpMethod.Put, $"{path}/{domain.ToUpperInvariant()}")).MustBe(HttpStatusCode.Created);
        Assert.Equal((domain, visit.Device.Host, $"{path}/{domain}"), ((string)added["domain"]!, (string)added["target"]!, added.Headers.Location!.OriginalString));
        (await someone.SendAsync(HttpMethod.Put, $"{path}/{domain}")).MustBe(HttpStatusCode.OK);
        Assert.Equal(domain, (string)Assert.Single((await someone.GetAsync(path))["domains"]!.AsArray())!["domain"]!);
        await Eventually.TrueAsync(async () => await VisitAsync() == HttpStatusCode.OK, "the domain leads to the device");

        (await someone.DeleteAsync($"{path}/{domain}")).MustBe(HttpStatusCode.NoContent);
        (await someone.DeleteAsync($"{path}/{domain}")).MustBe(HttpStatusCode.NotFound, "unknown-domain", domain);
        await Eventually.TrueAsync(async () => await VisitAsync() == HttpStatusCode.NotFound, "it leads nowhere any more");

        // Asking twice for what is there has changed nothing the second time.
        Assert.Equal(["domain.remove", "domain.add"], (await someone.AuditAsync($"actor={someone.TokenId}")).Select(static entry => (string)entry!["action"]!));

        async Task<HttpStatusCode> VisitAsync()
        {
            using var answer = await visitor.GetAsync(new Uri($"http://{domain}/"));
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task Another_devices_domain_is_not_given_until_that_device_is_no_more()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var (one, other, domain) = (await someone.AddDeviceAsync(), await someone.AddDeviceAsync(), NewDomain());
        (await someone.SendAsync(HttpMethod.Put, $"/api/v1/devices/{one.Uuid}/domains/{domain}")).MustBe(HttpStatusCode.Created);

        (await someone.SendAsync(HttpMethod.Put, $"/api/v1/devices/{other.Uuid}/domains/{domain}")).MustBe(HttpStatusCode.Conflict, "domain-taken", $"{one.Uuid}: remove it there first");
        (await someone.DeleteAsync($"/api/v1/devices/{other.Uuid}/domains/{domain}")).MustBe(HttpStatusCode.NotFound, "unknown-domain");

        (await someone.DeleteAsync($"/api/v1/devices/{one.Uuid}")).MustBe(HttpStatusCode.NoContent);
        (await someone.SendAsync(HttpMethod.Put, $"/api/v1/devices/{other.Uuid}/domains/{domain}")).MustBe(HttpStatusCode.Created);
    }

    [Theory]
    [InlineData("*.example.com", "without a wildcard")]
    [InlineData("192.0.2.1", "no domain of a device")]
    [InlineData("localhost", "no domain of a device")]
    [InlineData("x." + TestGateway.Domain, "which is the gateway's own")]
    public async Task What_cannot_be_a_devices_domain_is_refused(string domain, string named)
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();

        (await someone.SendAsync(HttpMethod.Put, $"/api/v1/devices/{device.Uuid}/domains/{domain}")).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }

    [Fact]
    public async Task An_unknown_device_has_no_domains()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var path = $"/api/v1/devices/{DeviceUuid.New()}/domains";

        (await someone.GetAsync(path)).MustBe(HttpStatusCode.NotFound, "unknown-device");
        (await someone.SendAsync(HttpMethod.Put, $"{path}/{NewDomain()}")).MustBe(HttpStatusCode.NotFound, "unknown-device");
    }
}
