using System.Net;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Tests.Dashboard;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>Who may do what; what is written down of it; and what is written nowhere.</summary>
public sealed class AccessTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    /// <summary>Every endpoint of the API: the least scope, whether it changes something, and how it is called.</summary>
    private static readonly (string Method, string Path, Scope Needs, bool Changes, string? Body)[] Endpoints =
    [
        ("GET", "/api/v1/devices", Scope.Read, false, null),
        ("POST", "/api/v1/devices", Scope.Operate, true, "{}"),
        ("GET", "/api/v1/devices/{uuid}", Scope.Read, false, null),
        ("PUT", "/api/v1/devices/{uuid}", Scope.Operate, true, """{"name":"put"}"""),
        ("PATCH", "/api/v1/devices/{uuid}", Scope.Operate, true, """{"name":"patched"}"""),
        ("GET", "/api/v1/devices/{uuid}/status", Scope.Read, false, null),
        ("GET", "/api/v1/devices/{uuid}/public-url", Scope.Read, false, null),
        ("PUT", "/api/v1/devices/{uuid}/public-url", Scope.Operate, true, """{"enabled":true}"""),
        ("PUT", "/api/v1/public-url", Scope.Operate, true, """{"enabled":false,"devices":["{uuid}"]}"""),
        ("GET", "/api/v1/devices/{uuid}/keys", Scope.Read, false, null),
        ("POST", "/api/v1/devices/{uuid}/keys", Scope.Operate, true, "{}"),
        ("POST", "/api/v1/devices/{uuid}/keys/rotate", Scope.Operate, true, "{}"),
        ("DELETE", "/api/v1/devices/{uuid}/keys/{fingerprint}", Scope.Operate, true, null),
        ("GET", "/api/v1/devices/{uuid}/domains", Scope.Read, false, null),
        ("PUT", "/api/v1/devices/{uuid}/domains/{domain}", Scope.Operate, true, null),
        ("DELETE", "/api/v1/devices/{uuid}/domains/{domain}", Scope.Operate, true, null),
        ("DELETE", "/api/v1/devices/{uuid}", Scope.Operate, true, null),
        ("GET", "/api/v1/tokens", Scope.Admin, false, null),
        ("POST", "/api/v1/tokens", Scope.Admin, true, """{"name":"made by a test","scope":"read"}"""),
        ("DELETE", "/api/v1/tokens/{id}", Scope.Admin, true, null),
        ("GET", "/api/v1/audit", Scope.Read, false, null),
        ("GET", "/api/v1/status", Scope.Read, false, null),
        ("GET", "/api/v1/whoami", Scope.Read, false, null),
    ];

    /// <summary>What balena's tools call, with the pattern that it is mapped by.</summary>
    private static readonly (string Method, string Pattern, string Path, Scope Needs, bool Changes, string? Body)[] BalenaEndpoints =
    [
        ("GET", "/actor/v1/whoami", "/actor/v1/whoami", Scope.Read, false, null),
        ("GET", "/v{version:int}/device(uuid='{uuid}')", "/v7/device(uuid='{uuid}')", Scope.Read, false, null),
        ("GET", "/v{version:int}/device({id:long})", "/v7/device(77)", Scope.Read, false, null),
        ("GET", "/v{version:int}/device", "/v7/device?$filter=uuid eq '{uuid}'", Scope.Read, false, null),
        ("PATCH", "/v{version:int}/device", "/v7/device?$filter=uuid eq '{uuid}'", Scope.Operate, true, """{"is_web_accessible":true}"""),
        ("GET", "/v{version:int}/application", "/v7/application", Scope.Read, false, null),
    ];

    /// <summary>The dashboard's pages and forms.</summary>
    private static readonly (string Method, string Path, Scope Needs, bool Changes, string Form)[] Pages =
    [
        ("GET", "/", Scope.Read, false, ""),
        ("GET", "/live", Scope.Read, false, ""),
        ("GET", "/devices/{uuid}", Scope.Read, false, ""),
        ("GET", "/devices/{uuid}/{tab}", Scope.Read, false, ""),
        ("GET", "/audit", Scope.Read, false, ""),
        ("GET", "/reference", Scope.Read, false, ""),
        ("GET", "/devices/new", Scope.Operate, false, ""),
        ("POST", "/devices/new", Scope.Operate, true, "name=made by a test"),
        ("POST", "/devices/{uuid}/public-url", Scope.Operate, true, "enabled=true"),
        ("POST", "/devices/{uuid}/edit", Scope.Operate, true, "name=edited"),
        ("POST", "/devices/{uuid}/keys/issue", Scope.Operate, true, ""),
        ("POST", "/devices/{uuid}/keys/rotate", Scope.Operate, true, ""),
        ("POST", "/devices/{uuid}/keys/revoke", Scope.Operate, true, "fingerprint={fingerprint}"),
        ("POST", "/devices/{uuid}/domains/add", Scope.Operate, true, "domain={domain}"),
        ("POST", "/devices/{uuid}/domains/remove", Scope.Operate, true, "domain={domain}"),
        ("POST", "/devices/{uuid}/delete", Scope.Operate, true, "sure=true"),
        ("GET", "/tokens", Scope.Admin, false, ""),
        ("POST", "/tokens", Scope.Admin, true, "name=made by a test&scope=read&days=30"),
        ("POST", "/tokens/{id}/revoke", Scope.Admin, true, ""),
    ];

    /// <summary>What asks for no token.</summary>
    private static readonly string[] Open = ["GET /openapi/{documentName}.json", "GET /config", "GET /assets/{name}", "GET /signin", "POST /signin", "POST /signout"];

    [Theory]
    [InlineData(Scope.Read)]
    [InlineData(Scope.Operate)]
    [InlineData(Scope.Admin)]
    public async Task Every_endpoint_takes_every_scope_that_is_enough_and_no_other_and_every_change_leaves_one_entry(Scope scope)
    {
        using var setup = await Operator.WithAsync(Gateway, Scope.Admin, "the set-up");
        var fill = await TargetAsync(setup);
        var calls = BalenaEndpoints.Select(static endpoint => (endpoint.Method, endpoint.Path, endpoint.Needs, endpoint.Changes, endpoint.Body)).Concat(Endpoints);
        foreach (var (method, path, needs, changes, body) in calls)
        {
            using var someone = await Operator.WithAsync(Gateway, scope, $"{scope}");

            var answer = await someone.SendAsync(new HttpMethod(method), fill(path), body is null ? null : fill(body));

            if (scope >= needs)
            {
                Assert.True((int)answer.Status is >= 200 and < 300, $"{method} {path} with {scope}: {answer.Status} {answer.Body}");
            }
            else
            {
                answer.MustBe(HttpStatusCode.Forbidden, "forbidden", $"needs {needs.Name()}");
            }

            await CheckEntriesAsync(setup, someone.TokenId, $"{method} {path}", scope, scope >= needs && changes);
        }
    }

    [Theory]
    [InlineData(Scope.Read)]
    [InlineData(Scope.Operate)]
    [InlineData(Scope.Admin)]
    public async Task Every_page_and_form_takes_every_scope_that_is_enough_and_no_other_and_every_change_leaves_one_entry(Scope scope)
    {
        using var setup = await Operator.WithAsync(Gateway, Scope.Admin, "the set-up");
        var fill = await TargetAsync(setup);
        foreach (var (method, path, needs, changes, form) in Pages)
        {
            using var someone = await Operator.WithAsync(Gateway, scope, $"{scope}");
            using var session = await Session.WithAsync(Gateway.AdminPort, someone.Token);
            var fields = fill(form).Split('&', StringSplitOptions.RemoveEmptyEntries).Select(static field => field.Split('=')).Select(static field => (field[0], field[1])).ToArray();

            var answer = method == "GET" ? await session.GetAsync(fill(path)) : await session.PostAsync(fill(path), "/", fields);

            if (scope >= needs)
            {
                Assert.True(answer.Status is HttpStatusCode.OK or HttpStatusCode.Redirect && answer.Location?.StartsWith("/signin", StringComparison.Ordinal) != true, $"{method} {path} with {scope}: {answer}");
            }
            else
            {
                Assert.True(answer.Status == HttpStatusCode.Forbidden && answer.Body.Contains($"needs {needs.Name()}", StringComparison.Ordinal), $"{method} {path} with {scope}: {answer}");
            }

            await CheckEntriesAsync(setup, someone.TokenId, $"{method} {path}", scope, scope >= needs && changes);
        }
    }

    [Fact]
    public void There_is_no_endpoint_that_these_tests_do_not_call()
    {
        var mapped = Gateway.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>()
            .SelectMany(static endpoint => endpoint.Metadata.GetRequiredMetadata<HttpMethodMetadata>().HttpMethods.Select(method => $"{method} {endpoint.RoutePattern.RawText}"));

        Assert.Equal(
            [.. Endpoints.Select(static endpoint => $"{endpoint.Method} {endpoint.Path}")
                .Concat(BalenaEndpoints.Select(static endpoint => $"{endpoint.Method} {endpoint.Pattern}"))
                .Concat(Pages.Select(static page => $"{page.Method} {page.Path}")).Concat(Open).Order(StringComparer.Ordinal)],
            mapped.Order(StringComparer.Ordinal).ToArray());
    }

    // A device, a key of it, a domain, and a token that may be revoked: what the paths speak of.
    private async Task<Func<string, string>> TargetAsync(Operator setup)
    {
        var device = await setup.AddDeviceAsync(new { uuid = DeviceUuid.New().ToString() });
        var other = (await Gateway.Services.GetRequiredService<TokenStore>().CreateAsync("to be revoked", Scope.Read, null, "the tests")).Token;
        var fingerprint = (string)(await setup.GetAsync($"/api/v1/devices/{device.Uuid}/keys"))["keys"]![0]!["fingerprint"]!;
        return text => text.Replace("{uuid}", $"{device.Uuid}", StringComparison.Ordinal).Replace("{fingerprint}", fingerprint, StringComparison.Ordinal)
            .Replace("{id}", other.Id, StringComparison.Ordinal).Replace("{domain}", $"d{device.Uuid.ToString()[..8]}.example.com", StringComparison.Ordinal).Replace("{tab}", "actions", StringComparison.Ordinal);
    }

    private static async Task CheckEntriesAsync(Operator setup, string tokenId, string call, Scope scope, bool changed)
    {
        var entries = await setup.AuditAsync($"actor={tokenId}");
        Assert.True(entries.Count == (changed ? 1 : 0), $"{call} with {scope} left {entries.Count} entries: {entries.ToJsonString()}");
        foreach (var entry in entries)
        {
            Assert.Equal((tokenId, $"{scope}", "127.0.0.1"), ((string)entry!["actor"]!["id"]!, (string)entry["actor"]!["name"]!, (string)entry["actor"]!["from"]!));
            Assert.True(entry["before"] is not null || entry["after"] is not null);
        }
    }

    [Fact]
    public async Task The_document_has_these_endpoints_and_no_others()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Read);

        var paths = (await someone.GetAsync("/openapi/v1.json")).MustBe(HttpStatusCode.OK)["paths"]!.AsObject();

        var documented = paths.SelectMany(static path => path.Value!.AsObject().Select(operation => $"{operation.Key.ToUpperInvariant()} {path.Key}"));
        Assert.Equal(Endpoints.Select(static endpoint => $"{endpoint.Method} {endpoint.Path}").Order(), documented.Order());
    }

    [Fact]
    public async Task Without_a_token_or_with_a_wrong_revoked_or_expired_one_nothing_is_answered()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Admin:MaxFailuresPerMinute"] = "100" });
        using var admin = await Operator.WithAsync(gateway, Scope.Admin);
        using var anonymous = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{gateway.AdminPort}") };
        foreach (var (method, path) in Endpoints.Select(static endpoint => (endpoint.Method, endpoint.Path)).Concat(BalenaEndpoints.Select(static endpoint => (endpoint.Method, endpoint.Path))))
        {
            using var request = new HttpRequestMessage(new HttpMethod(method), path.Replace("{uuid}", $"{DeviceUuid.New()}", StringComparison.Ordinal));
            using var answer = await anonymous.SendAsync(request);
            Assert.Equal((HttpStatusCode.Unauthorized, "Bearer"), (answer.StatusCode, answer.Headers.WwwAuthenticate.ToString()));
        }

        using var wrong = Operator.WithToken(gateway, "dgt_wrong");
        (await wrong.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.Unauthorized, "unauthenticated");

        var created = (await admin.PostAsync("/api/v1/tokens", new { name = "short-lived", scope = "read", expires = DateTimeOffset.UtcNow.AddSeconds(2) })).MustBe(HttpStatusCode.Created);
        using var passing = Operator.WithToken(gateway, (string)created["text"]!);
        Assert.Equal("short-lived", (string)(await passing.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.OK)["name"]!);
        await Eventually.TrueAsync(async () => (await passing.GetAsync("/api/v1/whoami")).Status == HttpStatusCode.Unauthorized, "it has expired");

        created = await admin.PostAsync("/api/v1/tokens", new { name = "revoked", scope = "operate" });
        using var revoked = Operator.WithToken(gateway, (string)created["text"]!);
        (await revoked.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.OK);
        await Eventually.TrueAsync(async () => (await admin.GetAsync("/api/v1/tokens"))["tokens"]!.AsArray().Any(token => (string)token!["name"]! == "revoked" && token["lastUsed"] is not null), "its use is noted");
        (await admin.DeleteAsync($"/api/v1/tokens/{created["token"]!["id"]}")).MustBe(HttpStatusCode.NoContent);
        (await revoked.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.Unauthorized, "unauthenticated");
        (await admin.DeleteAsync($"/api/v1/tokens/{created["token"]!["id"]}")).MustBe(HttpStatusCode.NotFound, "unknown-token");
    }

    [Theory]
    [InlineData("""{"scope":"read"}""", "name is missing")]
    [InlineData("""{"name":"x"}""", "scope is missing: give one of read, operate, admin")]
    [InlineData("""{"name":"x","scope":"root"}""", "scope is \"root\"")]
    [InlineData("""{"name":"x","scope":"read","expires":"2001-01-01T00:00:00Z"}""", "which is past")]
    public async Task What_is_wrong_with_a_token_is_named(string body, string named)
    {
        using var admin = await Operator.WithAsync(Gateway, Scope.Admin);

        (await admin.PostAsync("/api/v1/tokens", body)).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }

    [Fact]
    public async Task A_first_token_may_stand_in_the_configuration_where_alone_it_can_be_taken_back()
    {
        const string text = "0123456789012345678901234567890123456789";
        await using var gateway = await TestGateway.StartAsync(new() { ["Admin:InitialToken"] = text });
        using var first = Operator.WithToken(gateway, text);

        var who = (await first.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.OK);

        Assert.Equal(("configuration", "admin"), ((string)who["name"]!, (string)who["scope"]!));
        (await first.DeleteAsync($"/api/v1/tokens/{who["id"]}")).MustBe(HttpStatusCode.Conflict, "conflict", "Admin:InitialToken");
    }

    [Fact]
    public async Task Who_guesses_is_stopped_and_who_knows_is_not()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Admin:MaxFailuresPerMinute"] = "3" });
        using var guesser = Operator.WithToken(gateway, "dgt_guess");
        using var someone = await Operator.WithAsync(gateway, Scope.Read);

        for (var i = 0; i < 3; i++)
        {
            (await guesser.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.Unauthorized, "unauthenticated");
        }

        var stopped = (await guesser.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.TooManyRequests, "too-many-failures");
        Assert.Equal(60, stopped.Headers.RetryAfter!.Delta!.Value.TotalSeconds);
        (await someone.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.OK);
    }

    [Theory]
    [InlineData("/api/v1/whoami")]
    [InlineData("/openapi/v1.json")]
    [InlineData("/v7/device")]
    [InlineData("/healthz")]
    public async Task The_API_is_on_the_admin_listener_alone_whatever_the_host_says(string path)
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Admin);
        var device = await Gateway.AddDeviceAsync();
        foreach (var host in new[] { $"127.0.0.1:{Gateway.AdminPort}", "localhost", $"admin.{TestGateway.Domain}", $"api.{TestGateway.Domain}", device.Host, $"tunnel.{TestGateway.Domain}" })
        {
            foreach (var tls in new[] { false, true })
            {
                await using var visitor = await RawConnection.OpenAsync(tls ? Gateway.HttpsPort : Gateway.HttpPort, tls);
                await visitor.SendAsync($"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {someone.Token}\r\nX-Forwarded-Host: localhost\r\nConnection: close\r\n\r\n");
                var answer = await visitor.ReadToEndAsync();
                Assert.True(answer.StartsWith("HTTP/1.1 404 ", StringComparison.Ordinal) || (host == device.Host && answer.StartsWith("HTTP/1.1 503 ", StringComparison.Ordinal)), answer);
                Assert.DoesNotContain(someone.TokenId, answer, StringComparison.Ordinal);
            }
        }

        // And the other way about: the admin listener knows no device.
        await using var inside = await RawConnection.OpenAsync(Gateway.AdminPort);
        await inside.SendAsync($"GET / HTTP/1.1\r\nHost: {device.Host}\r\nConnection: close\r\n\r\n");
        Assert.DoesNotContain("device-offline", await inside.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_not_there_and_what_is_not_possible_are_problem_documents()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Admin);

        (await someone.GetAsync("/api/v1/nothing")).MustBe(HttpStatusCode.NotFound, "no-such-page");
        (await someone.DeleteAsync("/api/v1/devices")).MustBe(HttpStatusCode.MethodNotAllowed, "method-not-allowed");
    }

    [Fact]
    public async Task The_audit_pages_and_filters()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        for (var i = 0; i < 5; i++)
        {
            await someone.PatchAsync($"/api/v1/devices/{device.Uuid}", new { name = $"name {i}" });
        }

        var first = (await someone.GetAsync($"/api/v1/audit?device={device.Uuid}&limit=4")).MustBe(HttpStatusCode.OK);
        Assert.Equal(["name 4", "name 3", "name 2", "name 1"], first["entries"]!.AsArray().Select(static entry => (string)entry!["after"]!["name"]!));
        Assert.Equal("name 3", (string)first["entries"]![0]!["before"]!["name"]!);

        // A change in between moves nothing.
        await someone.PatchAsync($"/api/v1/devices/{device.Uuid}", new { name = "later" });
        var second = (await someone.GetAsync($"/api/v1/audit?device={device.Uuid}&limit=4&cursor={first["next"]}")).MustBe(HttpStatusCode.OK);
        Assert.Equal(["device.update", "device.create"], second["entries"]!.AsArray().Select(static entry => (string)entry!["action"]!));
        Assert.Null(second["next"]);
        Assert.Single(await someone.AuditAsync($"device={device.Uuid}&action=device.create"));
    }
}
