using System.Net;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>The switch: of one device, of many, and by the device itself.</summary>
public sealed class PublicUrlTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    [Fact]
    public async Task The_switch_is_seen_by_the_next_visitor()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var agent = await Gateway.ConnectAsync(device, app.Url);
        using var visitor = Gateway.CreateVisitor();
        var path = $"/api/v1/devices/{device.Uuid}/public-url";

        foreach (var (enabled, status) in new[] { (false, HttpStatusCode.NotFound), (true, HttpStatusCode.OK), (true, HttpStatusCode.OK), (false, HttpStatusCode.NotFound) })
        {
            var answer = (await someone.PutAsync(path, new { enabled })).MustBe(HttpStatusCode.OK);
            Assert.Equal(enabled, (bool)answer["enabled"]!);
            Assert.Equal(enabled, (bool)(await someone.GetAsync(path)).MustBe(HttpStatusCode.OK)["enabled"]!);
            await Eventually.TrueAsync(async () => (await visitor.GetAsync(new Uri($"http://{device.Host}/"))).StatusCode == status, $"visitors get {status}");
        }

        (await someone.PutAsync(path, "{}")).MustBe(HttpStatusCode.BadRequest, "invalid-request", "enabled is missing");
        (await someone.PutAsync($"/api/v1/devices/{DeviceUuid.New()}/public-url", new { enabled = true })).MustBe(HttpStatusCode.NotFound, "unknown-device");
        (await someone.GetAsync($"/api/v1/devices/{DeviceUuid.New()}/public-url")).MustBe(HttpStatusCode.NotFound, "unknown-device");
    }

    [Fact]
    public async Task Many_are_switched_at_once_and_the_progress_is_told()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate, "bulk");
        var store = Gateway.Services.GetRequiredService<DeviceStore>();
        var tag = $"t{Guid.NewGuid():N}";
        var uuids = Enumerable.Range(0, 350).Select(static _ => DeviceUuid.New()).ToList();
        foreach (var chunk in uuids.Index().Chunk(50))
        {
            await Task.WhenAll(chunk.Select(device => store.AddAsync(new DeviceRecord { Uuid = device.Item, PublicUrl = device.Index < 50, Tags = DeviceRecord.NoTags.Add(tag, "yes") })));
        }

        await Eventually.TrueAsync(async () => (int)(await someone.GetAsync($"/api/v1/devices?tag={tag}"))["total"]! == uuids.Count, "all are listed");

        var answer = await someone.PutAsync("/api/v1/public-url", new { enabled = true, tag = $"{tag}=yes" }, static request => request.Headers.Accept.ParseAdd("application/x-ndjson"));

        var lines = answer.MustBe(HttpStatusCode.OK).Body.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => JsonNode.Parse(line)!).ToList();
        Assert.Equal("application/x-ndjson", answer.MediaType);
        Assert.Equal([100, 200, 300, 350], lines.Select(static line => (int)line["done"]!));
        Assert.Equal((350, 300), ((int)lines[^1]["total"]!, (int)lines[^1]["changed"]!));
        Assert.True((await Task.WhenAll(uuids.Select(store.FindAsync))).All(static device => device!.PublicUrl));
        var entry = Assert.Single(await someone.AuditAsync($"actor={someone.TokenId}"))!;
        Assert.Equal(("public-url.bulk", 300, $"tag {tag}=yes"), ((string)entry["action"]!, (int)entry["after"]!["changed"]!, (string)entry["after"]!["selection"]!));

        // By uuids; who is unknown is named, and what is as wanted is not counted.
        var unknown = DeviceUuid.New().ToString();
        var second = (await someone.PutAsync("/api/v1/public-url", new { enabled = false, devices = new[] { $"{uuids[0]}", unknown, $"{uuids[0]}" } })).MustBe(HttpStatusCode.OK);
        Assert.Equal((2, 2, 1, unknown), ((int)second["done"]!, (int)second["total"]!, (int)second["changed"]!, (string)second["notFound"]![0]!));
    }

    [Fact]
    public async Task All_devices_are_switched_when_that_is_asked_for()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = "", ["Storage:DataDirectory"] = Directory.CreateTempSubdirectory("gateway-").FullName });
        using var someone = await Operator.WithAsync(gateway, Scope.Operate);
        var (one, other) = (await someone.AddDeviceAsync(), await someone.AddDeviceAsync(new { publicUrl = true }));

        var answer = (await someone.PutAsync("/api/v1/public-url", new { enabled = true, all = true })).MustBe(HttpStatusCode.OK);

        Assert.Equal((2, 1), ((int)answer["total"]!, (int)answer["changed"]!));
        Assert.True((await gateway.Devices.FindAsync(one.Uuid))!.PublicUrl && (await gateway.Devices.FindAsync(other.Uuid))!.PublicUrl);
    }

    [Theory]
    [InlineData("""{"enabled":true}""", "exactly one of devices, tag and all")]
    [InlineData("""{"enabled":true,"all":false}""", "exactly one of devices, tag and all")]
    [InlineData("""{"enabled":true,"all":true,"tag":"a"}""", "exactly one of devices, tag and all")]
    [InlineData("""{"tag":"a"}""", "enabled is missing")]
    [InlineData("""{"enabled":true,"devices":["x"]}""", "\"x\" is no device uuid")]
    [InlineData("""{"enabled":true,"tag":""}""", "no name of a tag")]
    public async Task What_is_wrong_with_a_bulk_change_is_named(string body, string named)
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);

        (await someone.PutAsync("/api/v1/public-url", body)).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }

    [Fact]
    public async Task A_device_sees_its_own_URL_and_switches_it_if_its_operator_allows()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        var (own, path) = (Device(device.Key), $"https://tunnel.{TestGateway.Domain}/v1/devices/{device.Uuid}/public-url");
        using (own)
        {
            var state = JsonNode.Parse(await own.GetStringAsync(new Uri(path)))!;
            Assert.Equal((false, false), ((bool)state["enabled"]!, (bool)state["selfService"]!));
            Assert.Contains(device.Host, (string)state["url"]!, StringComparison.Ordinal);
            Assert.Equal((HttpStatusCode.Forbidden, "self-service-off"), await PutAsync("""{"enabled":true}"""));

            await someone.PatchAsync($"/api/v1/devices/{device.Uuid}", new { selfService = true });
            Assert.Equal((HttpStatusCode.OK, null), await PutAsync("""{"enabled":true}"""));
            Assert.True((await Gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
            Assert.Equal((HttpStatusCode.BadRequest, "invalid-request"), await PutAsync("yes"));
            Assert.Equal((HttpStatusCode.BadRequest, "invalid-request"), await PutAsync("{}"));
            Assert.Equal(HttpStatusCode.RequestEntityTooLarge, (await PutAsync(new string(' ', 4000))).Status);
            Assert.Equal(HttpStatusCode.MethodNotAllowed, (await own.DeleteAsync(new Uri(path))).StatusCode);
        }

        var entry = (await someone.AuditAsync($"device={device.Uuid}"))[0]!;
        Assert.Equal((device.Uuid.ToString(), "the device itself"), ((string)entry["actor"]!["id"]!, (string)entry["actor"]!["name"]!));

        // Another's key, an operator's token, and a uuid that is none: the same answer.
        var other = await someone.AddDeviceAsync();
        foreach (var (key, url) in new[] { (other.Key, path), (someone.Token, path), (device.Key, path.Replace($"{device.Uuid}", "nonsense", StringComparison.Ordinal)) })
        {
            using var stranger = Device(key);
            using var refused = await stranger.GetAsync(new Uri(url));
            Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        }

        async Task<(HttpStatusCode Status, string? Reason)> PutAsync(string body)
        {
            using var answer = await own.PutAsync(new Uri(path), new StringContent(body));
            var problem = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
            return (answer.StatusCode, ((string?)problem["type"])?.Split(':')[^1]);
        }
    }

    private HttpClient Device(string key)
    {
        var client = Gateway.CreateVisitor();
        client.DefaultRequestHeaders.Authorization = new System.Net.Http.Headers.AuthenticationHeaderValue("Bearer", key);
        return client;
    }
}
