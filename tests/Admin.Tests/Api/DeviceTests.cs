using System.Net;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Dashboard;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>Devices by the API: create, read, list, change, delete.</summary>
public sealed class DeviceTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private Task<Operator> OperatorAsync() => Operator.WithAsync(Gateway, Scope.Operate);

    [Fact]
    public async Task A_created_device_has_what_was_asked_for_and_its_key_opens_a_tunnel()
    {
        using var someone = await OperatorAsync();

        var created = (await someone.PostAsync("/api/v1/devices", new { name = " kitchen ", tags = new Dictionary<string, string> { ["site"] = "Zürich", ["kiosk"] = "" }, publicUrl = true })).MustBe(HttpStatusCode.Created);

        var device = created["device"]!;
        var uuid = (string)device["uuid"]!;
        Assert.Equal($"/api/v1/devices/{uuid}", created.Headers.Location!.ToString());
        Assert.Equal(("kitchen", true, false, false), ((string)device["name"]!, (bool)device["publicUrl"]!, (bool)device["selfService"]!, (bool)device["online"]!));
        Assert.Equal("""{"kiosk":"","site":"Z\u00FCrich"}""", device["tags"]!.ToJsonString());
        Assert.StartsWith($"https://{uuid}.{TestGateway.Domain}", (string)device["url"]!, StringComparison.Ordinal);

        await using var agent = await Operator.ConnectAsync(Gateway, new TestDevice(DeviceUuid.Parse(uuid), (string)created["key"]!));
        var read = (await someone.GetAsync($"/api/v1/devices/{uuid.ToUpperInvariant()}")).MustBe(HttpStatusCode.OK);
        Assert.True((bool)read["online"]!);
        Assert.Equal(created.ETag, read.ETag);
    }

    [Fact]
    public async Task New_devices_are_as_the_configuration_says()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Devices:PublicUrlByDefault"] = "true", ["Devices:SelfServiceByDefault"] = "true", ["Listen:PublicOrigin"] = "https://*.example.com:8443" });
        using var someone = await Operator.WithAsync(gateway, Scope.Operate);

        var device = (await someone.PostAsync("/api/v1/devices", new { key = false })).MustBe(HttpStatusCode.Created);

        Assert.Null(device["key"]);
        Assert.Equal((true, true), ((bool)device["device"]!["publicUrl"]!, (bool)device["device"]!["selfService"]!));
        Assert.Equal($"https://{device["device"]!["uuid"]}.example.com:8443/", (string)device["device"]!["url"]!);
        using var session = await Session.WithAsync(gateway.AdminPort, someone.Token);
        Assert.Contains("name=\"publicUrl\" value=\"true\" checked", (await session.GetAsync("/devices/new")).Body, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"uuid":"short"}""", "\"short\" is no device uuid")]
    [InlineData("""{"name":"a\u0007b"}""", "control characters")]
    [InlineData("""{"tags":{"a b":"c"}}""", "\"a b\" is no name of a tag")]
    [InlineData("""{"tags":{"a":null}}""", "The tag \"a\" is null")]
    [InlineData("""{"tags":7}""", "\"tags\" has a value of another kind")]
    [InlineData("""{"nmae":"kitchen"}""", "\"nmae\" is no field of this body")]
    [InlineData("{", "The body is no JSON")]
    [InlineData("", "The body is missing")]
    public async Task What_is_wrong_with_a_new_device_is_named(string body, string named)
    {
        using var someone = await OperatorAsync();

        (await someone.PostAsync("/api/v1/devices", body)).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }

    [Fact]
    public async Task A_uuid_is_given_once_and_never_again()
    {
        using var someone = await OperatorAsync();
        var uuid = DeviceUuid.New().ToString();
        (await someone.PostAsync("/api/v1/devices", new { uuid })).MustBe(HttpStatusCode.Created);
        (await someone.PostAsync("/api/v1/devices", new { uuid })).MustBe(HttpStatusCode.Conflict, "device-exists", uuid);

        (await someone.DeleteAsync($"/api/v1/devices/{uuid}")).MustBe(HttpStatusCode.NoContent);

        (await someone.PostAsync("/api/v1/devices", new { uuid })).MustBe(HttpStatusCode.Conflict, "uuid-used");
        (await someone.PutAsync($"/api/v1/devices/{uuid}", new { })).MustBe(HttpStatusCode.Conflict, "uuid-used");
        (await someone.GetAsync($"/api/v1/devices/{uuid}")).MustBe(HttpStatusCode.NotFound, "unknown-device", uuid);
        (await someone.DeleteAsync($"/api/v1/devices/{uuid}")).MustBe(HttpStatusCode.NotFound, "unknown-device", uuid);
    }

    [Fact]
    public async Task PUT_makes_a_device_what_it_says_however_often()
    {
        using var someone = await OperatorAsync();
        var path = $"/api/v1/devices/{DeviceUuid.New()}";
        var state = new { name = "hall", tags = new Dictionary<string, string> { ["site"] = "oslo" }, publicUrl = true };

        var created = (await someone.PutAsync(path, state)).MustBe(HttpStatusCode.Created);
        var again = (await someone.PutAsync(path, state)).MustBe(HttpStatusCode.OK);
        Assert.Equal(created.ETag, again.ETag);

        var emptied = (await someone.PutAsync(path, new { })).MustBe(HttpStatusCode.OK);
        Assert.Equal((null, false, "{}"), ((string?)emptied["name"], (bool)emptied["publicUrl"]!, emptied["tags"]!.ToJsonString()));
        Assert.Equal(2, (await someone.AuditAsync($"device={path[^32..]}")).Count);   // the second PUT changed nothing
    }

    [Fact]
    public async Task PATCH_changes_what_it_names_and_nothing_else()
    {
        using var someone = await OperatorAsync();
        var device = await someone.AddDeviceAsync(new { name = "hall", tags = new Dictionary<string, string> { ["a"] = "1", ["b"] = "2" } });
        var path = $"/api/v1/devices/{device.Uuid}";

        var patched = (await someone.PatchAsync(path, """{"tags":{"a":null,"c":"3"},"selfService":true}""")).MustBe(HttpStatusCode.OK);
        Assert.Equal(("hall", true, """{"b":"2","c":"3"}"""), ((string)patched["name"]!, (bool)patched["selfService"]!, patched["tags"]!.ToJsonString()));

        patched = (await someone.PatchAsync(path, new StringContent("""{"name":null,"tags":null}""", new MediaTypeHeaderValue("application/merge-patch+json")))).MustBe(HttpStatusCode.OK);
        Assert.Equal((null, true, "{}"), ((string?)patched["name"], (bool)patched["selfService"]!, patched["tags"]!.ToJsonString()));

        (await someone.PatchAsync(path, "[]")).MustBe(HttpStatusCode.BadRequest, "invalid-request", "JSON object");
        (await someone.PatchAsync(path, """{"publicUrl":"yes"}""")).MustBe(HttpStatusCode.BadRequest, "invalid-request");
        (await someone.PatchAsync(path, new StringContent("x", new MediaTypeHeaderValue("text/plain")))).MustBe(HttpStatusCode.UnsupportedMediaType, "invalid-request", "application/json");
        (await someone.PatchAsync($"/api/v1/devices/{DeviceUuid.New()}", "{}")).MustBe(HttpStatusCode.NotFound, "unknown-device");
    }

    [Fact]
    public async Task Of_two_that_change_the_same_version_one_is_told_so()
    {
        using var someone = await OperatorAsync();
        var device = await someone.AddDeviceAsync();
        var path = $"/api/v1/devices/{device.Uuid}";
        var read = await someone.GetAsync(path);
        void Match(HttpRequestMessage request) => request.Headers.TryAddWithoutValidation("If-Match", read.ETag);

        var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => someone.PatchAsync(path, new { name = $"name {i}" }, Match)));

        Assert.Equal(1, answers.Count(static answer => answer.Status == HttpStatusCode.OK));
        Assert.All(answers.Where(static answer => answer.Status != HttpStatusCode.OK), static answer => answer.MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile"));
        (await someone.PutAsync(path, new { }, Match)).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");
        (await someone.PutAsync($"{path}/public-url", new { enabled = true }, Match)).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");
        (await someone.DeleteAsync(path, Match)).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");

        // A change by another system counts too.
        read = await someone.GetAsync(path);
        await Gateway.Services.GetRequiredService<RedisConnection>().Database.HashSetAsync($"device:{{{device.Uuid}}}", "public_url", "1");
        (await someone.DeleteAsync(path, Match)).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");
        read = await someone.GetAsync(path);
        (await someone.GetAsync(path, request => request.Headers.TryAddWithoutValidation("If-None-Match", read.ETag))).MustBe(HttpStatusCode.NotModified);
        (await someone.PutAsync(path, new { }, request => request.Headers.TryAddWithoutValidation("If-None-Match", "*"))).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");
        (await someone.DeleteAsync(path, Match)).MustBe(HttpStatusCode.NoContent);
        (await someone.PutAsync(path, new { }, request => request.Headers.TryAddWithoutValidation("If-Match", "*"))).MustBe(HttpStatusCode.PreconditionFailed, "changed-meanwhile");
    }

    [Fact]
    public async Task Lists_page_filter_and_sort()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString });
        using var someone = await Operator.WithAsync(gateway, Scope.Operate);
        await gateway.Services.GetRequiredService<DeviceCatalogue>().Loaded;
        string[] names = ["delta", "Alpha", "charlie", "bravo", "alphabet"];
        foreach (var (i, name) in names.Index())
        {
            await someone.AddDeviceAsync(new { uuid = $"{i:x1}{new string('0', 31)}", name, publicUrl = i % 2 == 0, tags = new Dictionary<string, string> { ["site"] = i < 3 ? "oslo" : "rome" } });
        }

        await someone.AddDeviceAsync(new { uuid = new string('f', 32) });
        await using var agent = await Operator.ConnectAsync(gateway, await someone.AddDeviceAsync(new { uuid = new string('e', 32), name = "echo" }));

        Assert.Equal("delta Alpha charlie bravo alphabet echo ", await ListAsync("/api/v1/devices"));
        Assert.Equal("Alpha alphabet bravo charlie delta echo ", await ListAsync("/api/v1/devices?sort=name"));
        Assert.Equal("Alpha alphabet", await ListAsync("/api/v1/devices?name=ALPHA"));
        Assert.Equal("charlie", await ListAsync("/api/v1/devices?uuid=20"));
        Assert.Equal("delta charlie", await ListAsync("/api/v1/devices?tag=site%3Doslo&enabled=true"));
        Assert.Equal("delta Alpha charlie bravo alphabet", await ListAsync("/api/v1/devices?tag=site&online=false"));
        Assert.Equal("echo", await ListAsync("/api/v1/devices?online=true"));
        Assert.Equal("", await ListAsync("/api/v1/devices?tag=site%3Doslo&tag=none"));

        // Pages, in both orders; a device that is deleted meanwhile takes no other with it.
        foreach (var (sort, expected) in new[] { ("name", "Alpha alphabet|bravo charlie|delta echo|"), ("uuid", "delta Alpha|charlie bravo|alphabet echo|") })
        {
            var pages = new List<string>();
            string? cursor = null;
            do
            {
                var page = (await someone.GetAsync($"/api/v1/devices?limit=2&sort={sort}&cursor={cursor}")).MustBe(HttpStatusCode.OK);
                Assert.Equal(7, (int)page["total"]!);
                pages.Add(Names(page));
                cursor = (string?)page["next"];
            }
            while (cursor is not null);
            Assert.Equal(expected, string.Join('|', pages));
        }

        (await someone.DeleteAsync($"/api/v1/devices/1{new string('0', 31)}")).MustBe(HttpStatusCode.NoContent);
        Assert.Equal("charlie bravo", await ListAsync($"/api/v1/devices?limit=2&cursor=1{new string('0', 31)}"));

        async Task<string> ListAsync(string path) => Names((await someone.GetAsync(path)).MustBe(HttpStatusCode.OK));
        static string Names(Answer page) => string.Join(' ', page["devices"]!.AsArray().Select(static device => (string?)device!["name"]));
    }

    [Theory]
    [InlineData("limit=0", "limit is \"0\": give 1 to 1000")]
    [InlineData("limit=many", "limit is \"many\"")]
    [InlineData("uuid=xyz", "uuid is \"xyz\"")]
    [InlineData("online=yes", "online is \"yes\": give true or false")]
    [InlineData("enabled=1", "enabled is \"1\"")]
    [InlineData("sort=age", "sort is \"age\": give uuid or name")]
    [InlineData("cursor=7", "\"7\" is no device uuid")]
    [InlineData("tag=a%20b", "\"a b\" is no name of a tag")]
    public async Task What_is_wrong_with_a_list_is_named(string query, string named)
    {
        using var someone = await OperatorAsync();

        (await someone.GetAsync($"/api/v1/devices?{query}")).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }

    [Fact]
    public async Task What_other_systems_write_into_Redis_is_listed_too()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString, ["Devices:ReconcileInterval"] = "00:00:01" });
        using var someone = await Operator.WithAsync(gateway, Scope.Read);
        var database = gateway.Services.GetRequiredService<RedisConnection>().Database;
        var (silent, announced) = (DeviceUuid.New(), DeviceUuid.New());

        await database.HashSetAsync($"device:{{{silent}}}", "public_url", "1");
        await database.HashSetAsync($"device:{{{announced}}}", [new("public_url", "0"), new("name", "told"), new("tag.site", "oslo")]);
        await database.PublishAsync(StackExchange.Redis.RedisChannel.Literal("devices"), announced.ToString());

        await Eventually.TrueAsync(async () => await CountAsync("") == 2, "both are listed");
        Assert.Equal(1, await CountAsync("tag=site%3Doslo"));
        Assert.Equal(1, await CountAsync("enabled=true"));

        await database.KeyDeleteAsync($"device:{{{silent}}}");
        await Eventually.TrueAsync(async () => await CountAsync("") == 1, "what is gone is not listed any more");

        async Task<int> CountAsync(string query) => (int)(await someone.GetAsync($"/api/v1/devices?{query}"))["total"]!;
    }

    [Fact]
    public async Task The_status_tells_what_a_device_is_doing()
    {
        using var someone = await OperatorAsync();
        var device = await someone.AddDeviceAsync(new { publicUrl = true });
        var path = $"/api/v1/devices/{device.Uuid}/status";
        var idle = (await someone.GetAsync(path)).MustBe(HttpStatusCode.OK);
        Assert.Equal((false, 0, 0L), ((bool)idle["online"]!, idle["tunnels"]!.AsArray().Count, (long)idle["requests"]!));

        await using var app = await TestApp.StartAsync(static context => context.Response.Body.WriteAsync(new byte[10_000]).AsTask());
        await using (await Operator.ConnectAsync(Gateway, device, app.Url))
        {
            using var visitor = Gateway.CreateVisitor();
            using var visited = await visitor.GetAsync(new Uri($"http://{device.Host}/a/path?secret=hunter2"));
            var status = await UntilAsync(static status => (long)status["requests"]! == 1 && (long)status["bytesReceived"]! > 10_000);
            Assert.True((bool)status["online"]!);
            Assert.StartsWith("gateway-agent", (string)status["tunnels"]![0]!["agent"]!, StringComparison.Ordinal);
            Assert.Equal("127.0.0.1", (string)status["tunnels"]![0]!["address"]!);
            Assert.Equal(("GET", "/a/path", 200), ((string)status["recentRequests"]![0]!["method"]!, (string)status["recentRequests"]![0]!["path"]!, (int)status["recentRequests"]![0]!["status"]!));
            Assert.DoesNotContain("hunter2", status.Body, StringComparison.Ordinal);
        }

        using (var visitor = Gateway.CreateVisitor())
        {
            await Eventually.TrueAsync(async () => (await visitor.GetAsync(new Uri($"http://{device.Host}/"))).StatusCode == HttpStatusCode.ServiceUnavailable, "offline");
        }

        var gone = await UntilAsync(static status => (long)status["failures"]! >= 1 && !(bool)status["online"]! && status["lastSeen"] is not null && status["pastTunnels"]!.AsArray().Count == 1);
        Assert.Equal((false, "device-offline"), ((bool)gone["online"]!, (string)gone["recentRequests"]![0]!["failure"]!));
        Assert.NotNull(gone["lastSeen"]);

        async Task<Answer> UntilAsync(Func<Answer, bool> condition)
        {
            var answer = await someone.GetAsync(path);
            await Eventually.TrueAsync(async () => condition(answer = await someone.GetAsync(path)), "the status tells it");
            return answer;
        }
    }
}
