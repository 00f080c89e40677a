using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using Gateway.Certificates.Shared;
using Gateway.Tests.Dashboard;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>
/// Every secret is used as it is meant to be, and in the wrong places too; then everything that the gateway and the agent say to
/// anybody is searched for it. A word that is no secret is planted the same way, and has to be found in each of these places.
/// </summary>
public sealed class SecretTests
{
    private const string Planted = "canary";

    private readonly ConcurrentDictionary<string, string> _secrets = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ConcurrentQueue<string>> _sinks = new(StringComparer.Ordinal);

    private string Secret(string what, string? text = null) => _secrets[what] = text ?? OwnToken();

    private void Said(string sink, string text) => _sinks.GetOrAdd(sink, static _ => new()).Enqueue(text);

    private Answer Said(string sink, Answer answer)
    {
        Said(sink, $"{answer.Headers}\n{answer.Body}");
        return answer;
    }

    private static string OwnToken() => Gateway.Admin.Tokens.OperatorToken.NewText();

    // As it is, or its beginning, as URLs and Basic credentials have it.
    private static bool Has(string text, string secret) => new[] { secret, Uri.EscapeDataString(secret), Convert.ToBase64String(Encoding.UTF8.GetBytes(secret)) }
        .Any(form => text.Contains(form[..Math.Min(form.Length, 24)], StringComparison.OrdinalIgnoreCase));

    [Fact]
    public async Task No_secret_is_said_anywhere_and_what_is_planted_is_found_everywhere()
    {
        await using var redis = await RedisServer.StartAsync();
        var password = Secret("Redis' password");
        await using (var connection = await RawConnection.OpenAsync(redis.Port))
        {
            await connection.SendAsync($"CONFIG SET requirepass {password}\r\n");
            Assert.Equal("+OK", await connection.ReadAsync(3));
        }

        await using var collector = await TestApp.StartAsync(async context =>
        {
            var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            Said($"OTLP{context.Request.Path}", Encoding.Latin1.GetString(body.ToArray()));
        });
        await using var app = await TestApp.StartAsync(context =>
        {
            context.Response.Headers.SetCookie = $"session={_secrets["the application's cookie"]}";
            return context.Response.WriteAsync($"the {Planted} of the application");
        });
        Secret("the application's cookie");
        await using var gateway = await GatewayProcess.StartAsync(null,
        [
            $"Storage:Redis={redis.ConnectionString},password={password}", $"Cluster:Node={Planted}-node", "Storage:Timeout=00:00:10", $"Cluster:Listen=127.0.0.1:{RedisServer.FreePort()}", $"Cluster:Secret={Secret("the cluster's secret")}",
            $"Admin:InitialToken={Secret("the first token")}", $"Certificates:EncryptionKey={Secret("the certificates' key", KeyProtector.NewKey())}", "Admin:MaxFailuresPerMinute=1000", "Logging:LogLevel:Default=Trace",
            $"Telemetry:Otlp:Endpoint={collector.Url.GetLeftPart(UriPartial.Authority)}", $"Telemetry:Otlp:Headers=api-key={Secret("the collector's key")}", "Telemetry:Otlp:MetricsInterval=00:00:01",
            "Telemetry:Traces:Ratio=1", "Telemetry:Logs:Otlp=true", "Telemetry:AccessLog:Enabled=true",
        ]);

        var device = await ManageAsync(gateway);
        await using (var stranger = gateway.StartAgent(device with { Key = Secret("a wrong key") }))
        {
            await stranger.WaitForOutputAsync("No tunnel");
            Said("the agent's log", stranger.Output);
        }

        await using var agent = gateway.StartAgent(device, app.Url.ToString());
        await agent.WaitForOutputAsync("Tunnel up");
        await VisitAsync(gateway, device);
        await MistakeAsync(gateway, device);
        await ReadAsync(gateway, device);
        Said("the agent's log", agent.Output);
        await DumpAsync(redis, password);

        // What is sent every few seconds has been sent when the last visit's trace is there.
        await Eventually.TrueAsync(() => new[] { "OTLP/v1/traces", "OTLP/v1/logs", "OTLP/v1/metrics" }.All(sink => Found(sink, $"{Planted}-")), "the collector has what was planted");
        Said("the gateway's log", gateway.Process.Output);

        Assert.All(_sinks.Keys, sink => Assert.True(Found(sink, Planted) || sink is "the agent's log", $"What was planted is not found in {sink}: it is not searched."));
        Assert.True(Found("the agent's log", device.Uuid.ToString()));
        Assert.Equal(
            ["OTLP/v1/logs", "OTLP/v1/metrics", "OTLP/v1/traces", "Redis", "answers to visitors", "pages", "the API", "the agent's log", "the audit", "the command line", "the gateway's log", "the page for Prometheus"],
            _sinks.Keys.Order(StringComparer.Ordinal));
        Assert.True(_secrets.Count >= 20);
        Assert.Empty(
            from sink in _sinks.Keys
            from secret in _secrets
            where Found(sink, secret.Value) && !(secret.Key == "the application's cookie" && sink == "answers to visitors")
            select $"{secret.Key} stands in {sink}");
    }

    private bool Found(string sink, string text) => _sinks.TryGetValue(sink, out var said) && said.Any(part => Has(part, text));

    // Everything that makes a secret, by every way there is.
    private async Task<TestDevice> ManageAsync(GatewayProcess gateway)
    {
        using var first = Operator.At(gateway, _secrets["the first token"]);
        using var admin = Operator.At(gateway, Secret("a token made by the API", (string)(await first.PostAsync("/api/v1/tokens", new { name = $"{Planted} api", scope = "admin" }))["text"]!));
        var created = (await admin.PostAsync("/api/v1/devices", new { name = $"{Planted} device", publicUrl = true, selfService = true })).MustBe(HttpStatusCode.Created);
        var uuid = DeviceUuid.Parse((string)created["device"]!["uuid"]!);
        Secret("a key of a new device", (string)created["key"]!);
        Secret("an issued key", (string)(await admin.PostAsync($"/api/v1/devices/{uuid}/keys", new { name = $"{Planted} key" }))["text"]!);
        var key = Secret("a rotated key", (string)(await admin.PostAsync($"/api/v1/devices/{uuid}/keys/rotate", new { }))["text"]!);

        using var session = await Session.WithAsync(gateway.AdminPort, admin.Token);
        Secret("a token made on a page", Between((await session.PostAsync("/tokens", "/tokens", ("name", $"{Planted} page"), ("scope", "operate"), ("days", "30"))).Body, "id=\"token-text\">"));
        Secret("a key made on a page", Between((await session.PostAsync($"/devices/{uuid}/keys/issue", "/")).Body, "id=\"key\">"));
        Secret("a key rotated on a page", Between((await session.PostAsync($"/devices/{uuid}/keys/rotate", "/")).Body, "id=\"key\">"));
        Secret("a key of a device added on a page", Between((await session.PostAsync("/devices/new", "/", ("name", $"{Planted} second"))).Body, "id=\"key\">"));

        Secret("a token made by the command line", Field(await CommandAsync(gateway, admin.Token, "token", "create", "--name", $"{Planted} cli"), "token"));
        Secret("a key made by the command line", Field(await CommandAsync(gateway, admin.Token, "device", "key", "issue", $"{uuid}"), "key"));
        foreach (var verb in new[] { "token list", "device list", $"device show {uuid}", $"device key list {uuid}", "audit", "status --json" })
        {
            Said("the command line", await CommandAsync(gateway, admin.Token, verb.Split(' ')));
        }

        Said("the command line", await CommandAsync(gateway, Secret("a wrong token at the command line"), "status"));
        return new TestDevice(uuid, key);
    }

    // Secrets of visitors are none of the gateway's business.
    private async Task VisitAsync(GatewayProcess gateway, TestDevice device)
    {
        using var visitor = gateway.CreateVisitor();
        foreach (var (i, host) in new[] { device, new TestDevice(DeviceUuid.New(), "") }.Index())
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, gateway.Url(host, $"/{Planted}-path?token={Secret($"the query of visitor {i}")}")) { Content = new StringContent(Secret($"the body of visitor {i}")) };
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", Secret($"the token of visitor {i}"));
            request.Headers.Add("Cookie", $"session={Secret($"the cookie of visitor {i}")}");
            request.Headers.Referrer = new Uri($"http://example.com/?token={Secret($"the referrer of visitor {i}")}");
            using var answer = await visitor.SendAsync(request);
            Assert.Equal(host == device ? HttpStatusCode.OK : HttpStatusCode.NotFound, answer.StatusCode);
            Said("answers to visitors", $"{answer.Headers}\n{await answer.Content.ReadAsStringAsync()}");
        }

        // The device asks for itself.
        using var own = new HttpRequestMessage(HttpMethod.Put, $"{gateway.TunnelAddress}/v1/devices/{device.Uuid}/public-url") { Content = new StringContent("""{"enabled":true}""") };
        own.Headers.Authorization = new AuthenticationHeaderValue("Bearer", device.Key);
        using var switched = await visitor.SendAsync(own);
        Assert.Equal(HttpStatusCode.OK, switched.StatusCode);
        using var refusal = new HttpRequestMessage(HttpMethod.Get, $"{gateway.TunnelAddress}/v1/devices/{device.Uuid}/public-url");
        refusal.Headers.Authorization = new AuthenticationHeaderValue("Bearer", Secret("a wrong key of a device that asks"));
        using var refused = await visitor.SendAsync(refusal);
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Said("answers to visitors", $"{await switched.Content.ReadAsStringAsync()}\n{await refused.Content.ReadAsStringAsync()}");
    }

    // Secrets where they do not belong: what is refused is not repeated.
    private async Task MistakeAsync(GatewayProcess gateway, TestDevice device)
    {
        using var admin = Operator.At(gateway, _secrets["a token made by the API"]);
        using var wrong = Operator.At(gateway, Secret("a wrong token"));
        Said("the API", await wrong.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.Unauthorized, "unauthenticated");
        Said("the API", await admin.GetAsync($"/api/v1/whoami?access_token={Secret("a token in a query")}")).MustBe(HttpStatusCode.OK);
        Said("the API", await admin.PatchAsync($"/api/v1/devices/{device.Uuid}", $$"""{"name":"x","{{Secret("a secret in the place of a name")}}""")).MustBe(HttpStatusCode.BadRequest);
        Said("the API", await admin.PostAsync($"/api/v1/tokens", $$"""{"name":"x" {{Secret("a secret in broken JSON")}}}""")).MustBe(HttpStatusCode.BadRequest);
        Said("the API", await admin.GetAsync("/v7/device", request => request.Headers.Add("Cookie", $"gateway_session={Secret("a made-up session")}"))).MustBe(HttpStatusCode.OK);
        using var browser = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{gateway.AdminPort}") };
        using var form = new FormUrlEncodedContent([new("token", Secret("a token in a strange form"))]);
        using var answer = await browser.PostAsync(new Uri("/signin", UriKind.Relative), form);
        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Said("pages", await answer.Content.ReadAsStringAsync());
    }

    // Everything that can be read.
    private async Task ReadAsync(GatewayProcess gateway, TestDevice device)
    {
        using var admin = Operator.At(gateway, _secrets["a token made by the API"]);
        await Eventually.TrueAsync(async () => (await admin.GetAsync($"/api/v1/devices/{device.Uuid}/status")).Body.Contains($"{Planted}-path", StringComparison.Ordinal), "the visit is noted");
        foreach (var path in new[] { "", $"/{device.Uuid}", $"/{device.Uuid}/status", $"/{device.Uuid}/keys", $"/{device.Uuid}/public-url", $"/{device.Uuid}/domains" })
        {
            Said("the API", await admin.GetAsync($"/api/v1/devices{path}")).MustBe(HttpStatusCode.OK);
        }

        foreach (var path in new[] { "/api/v1/tokens", "/api/v1/status", "/api/v1/whoami", "/openapi/v1.json", "/config", "/actor/v1/whoami", "/v7/device", "/v7/application", "/healthz", "/readyz" })
        {
            Said("the API", await admin.GetAsync(path)).MustBe(HttpStatusCode.OK);
        }

        Said("the audit", await admin.GetAsync("/api/v1/audit?limit=1000"));
        Said("the page for Prometheus", await admin.GetAsync("/metrics"));
        using var session = await Session.WithAsync(gateway.AdminPort, admin.Token);
        var secrets = session.Cookies.ToList();
        Assert.Equal(2, secrets.Count);
        foreach (var (i, cookie) in secrets.Index())
        {
            Secret($"cookie {i} of the dashboard", cookie[40..]);   // what comes before names the key that sealed it, as the forms do
        }

        var refused = await session.PostAsync("/signin", "/signin", ("token", Secret("a wrong token at the dashboard")));
        Assert.Equal(HttpStatusCode.Unauthorized, refused.Status);
        Said("pages", refused.Body);
        foreach (var path in new[] { "/", "/signin", "/tokens", "/audit", "/reference", "/devices/new", "/live", "/nothing" }
            .Concat(new[] { "", "/actions", "/keys", "/activity", "/audit", "/nothing" }.Select(tab => $"/devices/{device.Uuid}{tab}")))
        {
            Said("pages", (await session.GetAsync(path)).Body);
        }
    }

    // What the gateway keeps: everything but what protects the dashboard's cookies, as docs/redis.md says.
    private async Task DumpAsync(RedisServer server, string password)
    {
        await using var redis = await ConnectionMultiplexer.ConnectAsync($"{server.ConnectionString},password={password}");
        var database = redis.GetDatabase();
        await foreach (var key in redis.GetServers()[0].KeysAsync())
        {
            var values = await database.KeyTypeAsync(key) switch
            {
                RedisType.String => [await database.StringGetAsync(key)],
                RedisType.Hash => (await database.HashGetAllAsync(key)).SelectMany(static entry => new[] { entry.Name, entry.Value }),
                RedisType.List => await database.ListRangeAsync(key),
                RedisType.Set => await database.SetMembersAsync(key),
                RedisType.SortedSet => await database.SortedSetRangeByRankAsync(key),
                var type => throw new InvalidOperationException($"{key} is a {type}: search it, too."),
            };
            Said("Redis", $"{key} {string.Join('\n', values)}");
        }
    }

    private static async Task<string> CommandAsync(GatewayProcess gateway, string token, params string[] verb)
    {
        await using var process = ChildProcess.StartOwn(
            "gateway", verb, new Dictionary<string, string?> { ["GATEWAY_SERVER"] = $"http://127.0.0.1:{gateway.AdminPort}", ["GATEWAY_TOKEN"] = token });
        await process.WaitForExitAsync();
        return process.Output;
    }

    private static string Field(string output, string name) => output.Split('\n').Select(static line => line.Split(':', 2)).Single(parts => parts[0] == name)[1].Trim();

    private static string Between(string page, string before)
    {
        var start = page.IndexOf(before, StringComparison.Ordinal);
        Assert.True(start >= 0, $"The page has no {before}: {page}");
        start += before.Length;
        return page[start..page.IndexOf('<', start)];
    }
}
