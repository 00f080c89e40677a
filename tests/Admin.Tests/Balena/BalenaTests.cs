using System.Net;
using System.Text.Json.Nodes;
using Gateway.Admin.Api;
using Gateway.Admin.Balena;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Tunnel.Protocol;

namespace Gateway.Tests.Balena;

/// <summary>What balena's tools send, as recorded off the wire, and what they need in answer.</summary>
public sealed class BalenaTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    [Fact]
    public async Task The_four_calls_of_the_SDK_show_and_switch_the_flag()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate, "balena");
        var device = await someone.AddDeviceAsync();

        Assert.Equal("balena", (string)(await someone.GetAsync("/actor/v1/whoami")).MustBe(HttpStatusCode.OK)["username"]!);
        Assert.False((bool)One(await someone.GetAsync($"/v7/device(uuid='{device.Uuid}')?$select=is_web_accessible"))["is_web_accessible"]!);

        var id = (long)One(await someone.GetAsync($"/v7/device?$orderby=device_name%20asc&$select=id&$filter=uuid%20eq%20%27{device.Uuid}%27"))["id"]!;
        (await someone.PatchAsync($"/v7/device?$filter=id%20in%20({id})", """{"is_web_accessible":true}""")).MustBe(HttpStatusCode.OK);

        Assert.True((await Gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
        Assert.True((bool)One(await someone.GetAsync($"/v7/device(uuid='{device.Uuid}')?$select=is_web_accessible,uuid"))["is_web_accessible"]!);
        using var anonymous = new HttpClient();
        Assert.Equal(TestGateway.Domain, (string)JsonNode.Parse(await anonymous.GetStringAsync(new Uri($"http://127.0.0.1:{Gateway.AdminPort}/config")))!["deviceUrlsBase"]!);
        Assert.Equal(2, (await someone.AuditAsync($"actor={someone.TokenId}")).Count);   // created, switched
    }

    [Fact]
    public async Task Devices_are_found_by_a_short_uuid_a_list_a_number_and_a_fleet()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var fleet = $"org/f{Guid.NewGuid():N}";
        var (one, other) = (await someone.AddDeviceAsync(new { tags = new Dictionary<string, string> { ["fleet"] = fleet } }), await someone.AddDeviceAsync());

        Assert.Equal($"{one.Uuid}", (string)One(await someone.GetAsync($"/v7/device?$filter=startswith(uuid,'{one.Uuid.ToString()[..10]}')&$select=uuid"))["uuid"]!);
        Assert.Equal(2, (await someone.GetAsync($"/v7/device?$filter=uuid in ('{one.Uuid}','{other.Uuid}','{DeviceUuid.New()}')"))["d"]!.AsArray().Count);
        Assert.Equal($"{one.Uuid}", (string)One(await someone.GetAsync($"/v7/device?$filter=id eq {BalenaDevices.IdOf(one.Uuid)}"))["uuid"]!);
        Assert.Empty((await someone.GetAsync($"/v7/device(uuid='{DeviceUuid.New()}')"))["d"]!.AsArray());

        var application = One(await someone.GetAsync($"/v7/application?$filter=slug eq '{fleet}' or uuid eq '{fleet}'&$select=id"));
        (await someone.PatchAsync($"/v7/device?$filter=belongs_to__application eq {application["id"]}", """{"is_web_accessible":true}""")).MustBe(HttpStatusCode.OK);
        Assert.True((await Gateway.Devices.FindAsync(one.Uuid))!.PublicUrl);
        Assert.False((await Gateway.Devices.FindAsync(other.Uuid))!.PublicUrl);
    }

    [Fact]
    public async Task A_reader_may_not_switch_and_a_change_needs_a_filter()
    {
        using var reader = await Operator.WithAsync(Gateway, Scope.Read);
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);

        (await reader.PatchAsync("/v7/device?$filter=id in (1)", "{}")).MustBe(HttpStatusCode.Forbidden, "forbidden");
        (await someone.PatchAsync("/v7/device", """{"is_web_accessible":true}""")).MustBe(HttpStatusCode.BadRequest, "invalid-request", "$filter");
        (await someone.PatchAsync("/v7/device?$filter=id in (1)", """{"is_locked":true}""")).MustBe(HttpStatusCode.BadRequest, "invalid-request", "is_web_accessible");
    }

    [Theory]
    [InlineData("uuid eq 'it''s'", "it's", true)]
    [InlineData("uuid eq 'a' or (uuid eq 'b' and startswith(uuid,'b'))", "b", true)]
    [InlineData("uuid eq 'a' and uuid eq 'b'", "a", false)]
    [InlineData("uuid in ('a', 'b')", "b", true)]
    [InlineData("absent eq 'a'", "a", false)]
    [InlineData("", "anything", true)]
    public void A_filter_matches_what_it_says(string text, string uuid, bool expected) =>
        Assert.Equal(expected, ODataFilter.Parse(text).Matches(field => field == "uuid" ? uuid : null));

    [Theory]
    [InlineData("uuid ne 'a'")]
    [InlineData("uuid eq 'a")]
    [InlineData("uuid eq")]
    [InlineData("(uuid eq 'a'")]
    [InlineData("uuid eq 'a')")]
    [InlineData("uuid in ()")]
    [InlineData("contains(uuid,'a')")]
    public void What_is_no_filter_is_refused(string text) => Assert.Throws<ApiException>(() => ODataFilter.Parse(text));

    private static JsonNode One(Answer answer) => Assert.Single(answer.MustBe(HttpStatusCode.OK)["d"]!.AsArray())!;
}
