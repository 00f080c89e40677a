using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Heavy;

/// <summary>How long it takes: printed as tables, and only the effects are asserted.</summary>
[Collection(nameof(Alone))]
public sealed class FleetFigures(ITestOutputHelper output)
{
    private const int Tries = 200;

    /// <summary>Calls before those that count: a gateway that runs is compiled.</summary>
    private const int WarmUp = 10;

    private static HttpClient Api(TestGateway gateway, string token) => new()
    {
        BaseAddress = new Uri($"http://127.0.0.1:{gateway.AdminPort}"), DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", token) }, Timeout = TimeSpan.FromMinutes(5),
    };

    private static string Quantiles(List<double> milliseconds)
    {
        milliseconds.Sort();
        return string.Create(CultureInfo.InvariantCulture, $"p50 {milliseconds[milliseconds.Count / 2]:F1} ms, p99 {milliseconds[(int)(milliseconds.Count * 0.99)]:F1} ms");
    }

    private static void AddTo(List<double> times, int i, long startedAt)
    {
        if (i >= 0)
        {
            times.Add(Stopwatch.GetElapsedTime(startedAt).TotalMilliseconds);
        }
    }

    [Fact]
    public async Task A_hundred_thousand_devices_are_listed_searched_and_switched()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString, ["Devices:ReconcileInterval"] = "00:10:00", ["Storage:Timeout"] = "00:00:10", ["Logging:LogLevel:Default"] = "Warning" });
        var database = gateway.Services.GetRequiredService<RedisConnection>().Database;
        var uuids = Enumerable.Range(0, 100_000).Select(static _ => DeviceUuid.New()).ToArray();
        foreach (var chunk in uuids.Index().Chunk(2000))
        {
            await Task.WhenAll(chunk.Select(device => database.HashSetAsync($"device:{{{device.Item}}}", [
                new("public_url", "0"), new("name", $"device {device.Index:D6}"), new("tag.site", $"s{device.Index % 10}"), new("created", "2026-01-01T00:00:00Z"),
            ])));
        }

        // As when a node starts and finds them there.
        await using var node = await TestGateway.StartAsync(new() { ["Storage:Redis"] = redis.ConnectionString, ["Devices:ReconcileInterval"] = "00:10:00", ["Logging:LogLevel:Default"] = "Warning" });
        var started = Stopwatch.GetTimestamp();
        await node.Services.GetRequiredService<DeviceCatalogue>().Loaded;
        output.WriteLine($"a node has read 100,000 devices: {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s");
        var identity = node.Services.GetRequiredService<Gateway.Cluster.NodeIdentity>();
        await database.SetAddAsync(
            $"online:{identity.Id}:{identity.Epoch}", [.. uuids.Where(static (_, i) => i % 10 != 0).Select(static uuid => new StackExchange.Redis.RedisValue(uuid.ToString()))]);

        var (_, token) = await node.Services.GetRequiredService<TokenStore>().CreateAsync("figures", Scope.Admin, null, "the tests");
        using var api = Api(node, token);
        foreach (var (what, query) in new[]
        {
            ("list by uuid", "limit=50"), ("list by name", "limit=50&sort=name"), ("next page, middle of the list", $"limit=50&cursor={uuids.Order(Comparer<DeviceUuid>.Create(static (a, b) => string.CompareOrdinal($"{a}", $"{b}"))).ElementAt(50_000)}"),
            ("search by uuid prefix", $"uuid={uuids[7].ToString()[..6]}"), ("search by name", "name=device%20012"), ("filter by tag", "tag=site%3Ds3"), ("filter by online", "online=true"), ("filter by offline", "online=false&sort=name"),
        })
        {
            var times = new List<double>();
            var total = 0;
            for (var i = -WarmUp; i < 50; i++)
            {
                var at = Stopwatch.GetTimestamp();
                var page = JsonNode.Parse(await api.GetStringAsync(new Uri($"/api/v1/devices?{query}", UriKind.Relative)))!;
                AddTo(times, i, at);
                total = (int)page["total"]!;
            }

            Assert.True(total > 0);
            output.WriteLine($"{what}: {Quantiles(times)}, {total} match");
        }

        using var dashboard = new DashboardForm(node, token);
        await dashboard.SignInAsync();
        foreach (var (what, path) in new[] { ("dashboard, first page", "/"), ("dashboard, search", "/?q=device%20012"), ("dashboard, a tag, online", "/?q=site%3Ds3&online=true"), ("dashboard, a device", $"/devices/{uuids[7]}") })
        {
            var times = new List<double>();
            for (var i = -WarmUp; i < 50; i++)
            {
                var at = Stopwatch.GetTimestamp();
                Assert.Contains("device", await dashboard.GetAsync(path), StringComparison.Ordinal);
                AddTo(times, i, at);
            }

            output.WriteLine($"{what}: {Quantiles(times)}");
        }

        started = Stopwatch.GetTimestamp();
        using var request = new HttpRequestMessage(HttpMethod.Put, "/api/v1/public-url") { Content = JsonContent.Create(new { enabled = true, tag = "site=s3" }) };
        request.Headers.Accept.ParseAdd("application/x-ndjson");
        using var answer = await api.SendAsync(request);
        var lines = (await answer.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        output.WriteLine($"bulk enable by the API: {lines[^1]} in {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s, {lines.Length} lines of progress");
        Assert.Equal(10_000, (int)JsonNode.Parse(lines[^1])!["changed"]!);
        await AllAreAsync(true);

        // The same from the command line, back.
        started = Stopwatch.GetTimestamp();
        await using var command = Command(node, token, "public-url", "--tag", "site=s3", "--disable");
        Assert.Equal(0, await command.WaitForExitAsync());
        var said = command.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        output.WriteLine($"bulk disable from the command line: \"{said[^1]}\" in {Stopwatch.GetElapsedTime(started).TotalSeconds:F1} s, {said.Length - 1} lines of progress, e.g. \"{said[said.Length / 2]}\"");
        await AllAreAsync(false);

        async Task AllAreAsync(bool enabled)
        {
            foreach (var chunk in uuids.Where(static (_, i) => i % 10 == 3).Chunk(1000))
            {
                Assert.All(await Task.WhenAll(chunk.Select(node.Devices.FindAsync)), device => Assert.Equal(enabled, device!.PublicUrl));
            }
        }
    }

    [Theory]
    [InlineData("API")]
    [InlineData("checkbox")]
    [InlineData("command line")]
    public Task From_the_switch_to_the_visitor(string way) => MeasureAsync(way);

    /// <summary>Without a word on the channel it is seen when the copy in memory is old (Devices:CacheTtl, 2 s).</summary>
    [Fact]
    public Task From_a_raw_HSET_to_the_visitor() => MeasureAsync("raw HSET");

    // From when the switch is thrown; for the command line that is with its start.
    private async Task MeasureAsync(string way)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Logging:LogLevel:Default"] = "Warning" });
        var (_, token) = await gateway.Services.GetRequiredService<TokenStore>().CreateAsync("figures", Scope.Admin, null, "the tests");
        using var api = Api(gateway, token);
        await using var app = await StartAppAsync();
        await using var visit = await Visit.ToAsync(gateway, app);
        using var visitor = gateway.CreateVisitor();
        var database = gateway.Services.GetRequiredService<RedisConnection>().Database;
        using var dashboard = new DashboardForm(gateway, token);
        await dashboard.SignInAsync();
        await dashboard.OpenAsync(visit.Device);
        Func<Task> switchOff = way switch
        {
            "API" => () => api.PutAsJsonAsync($"/api/v1/devices/{visit.Device.Uuid}/public-url", new { enabled = false }),
            "checkbox" => () => dashboard.SwitchAsync(false),
            "command line" => () => CommandAsync(gateway, token, visit.Device, false),
            _ => () => database.HashSetAsync($"device:{{{visit.Device.Uuid}}}", "public_url", "0"),
        };

        var (answers, cuts) = (new List<double>(), new List<double>());
        for (var i = 0; i < Tries; i++)
        {
            await gateway.Devices.SetPublicUrlAsync(visit.Device.Uuid, true);
            await Eventually.TrueAsync(async () => await StatusAsync() == HttpStatusCode.OK, "on");
            using var socket = new ClientWebSocket();
            using var handler = new HttpMessageInvoker(gateway.CreateHandler());
            await socket.ConnectAsync(new Uri($"ws://{visit.Device.Host}/"), handler, CancellationToken.None);
            var received = socket.ReceiveAsync(new byte[1], CancellationToken.None);

            var at = Stopwatch.GetTimestamp();
            var cut = received.ContinueWith(_ => Stopwatch.GetElapsedTime(at).TotalMilliseconds, TaskScheduler.Default);
            var switching = switchOff();
            while (await StatusAsync() != HttpStatusCode.NotFound)
            {
                await Task.Delay(1);
            }

            answers.Add(Stopwatch.GetElapsedTime(at).TotalMilliseconds);
            cuts.Add(await Eventually.ResultAsync(cut, "the WebSocket's end"));
            await switching;
        }

        output.WriteLine($"{way}: next answer {Quantiles(answers)}; WebSocket cut {Quantiles(cuts)}");

        async Task<HttpStatusCode> StatusAsync()
        {
            using var answer = await visitor.GetAsync(new Uri($"http://{visit.Device.Host}/"));
            return answer.StatusCode;
        }
    }

    [Fact]
    public async Task From_the_deletion_to_the_end_of_a_tunnel_on_another_node()
    {
        await using var redis = await RedisServer.StartAsync();
        var settings = new Dictionary<string, string?> { ["Storage:Redis"] = redis.ConnectionString, ["Logging:LogLevel:Default"] = "Warning" };
        await using var node = await TestGateway.StartAsync(settings);
        await using var other = await TestGateway.StartAsync(settings);
        var (_, token) = await node.Services.GetRequiredService<TokenStore>().CreateAsync("figures", Scope.Admin, null, "the tests");
        using var api = Api(node, token);
        await using var app = await StartAppAsync();
        var (tunnels, cuts) = (new List<double>(), new List<double>());
        for (var i = 0; i < Tries; i++)
        {
            var device = await node.AddDeviceAsync();
            await using var agent = await other.ConnectAsync(device, app.Url);
            using var socket = new ClientWebSocket();
            using var handler = new HttpMessageInvoker(other.CreateHandler());
            await socket.ConnectAsync(new Uri($"ws://{device.Host}/"), handler, CancellationToken.None);
            var received = socket.ReceiveAsync(new byte[1], CancellationToken.None);

            var at = Stopwatch.GetTimestamp();
            var tunnel = other.Tunnels.Find(device.Uuid)!.Client.Closed.ContinueWith(_ => Stopwatch.GetElapsedTime(at).TotalMilliseconds, TaskScheduler.Default);
            var cut = received.ContinueWith(_ => Stopwatch.GetElapsedTime(at).TotalMilliseconds, TaskScheduler.Default);
            using var deleted = await api.DeleteAsync(new Uri($"/api/v1/devices/{device.Uuid}", UriKind.Relative));
            Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
            tunnels.Add(await Eventually.ResultAsync(tunnel, "the tunnel's end"));
            cuts.Add(await Eventually.ResultAsync(cut, "the WebSocket's end"));
        }

        output.WriteLine($"device deleted at another node: its tunnel ends {Quantiles(tunnels)}; WebSocket cut {Quantiles(cuts)}");
    }

    // An application whose WebSockets stay.
    private static Task<TestApp> StartAppAsync() => TestApp.StartAsync(static _ => { }, static app =>
    {
        app.UseWebSockets();
        app.Run(static async context =>
        {
            if (context.WebSockets.IsWebSocketRequest)
            {
                using var socket = await context.WebSockets.AcceptWebSocketAsync();
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        });
    });

    private static ChildProcess Command(TestGateway gateway, string token, params string[] verb) => ChildProcess.StartOwn(
        "gateway", verb, new Dictionary<string, string?> { ["GATEWAY_SERVER"] = $"http://127.0.0.1:{gateway.AdminPort}", ["GATEWAY_TOKEN"] = token });

    private static async Task CommandAsync(TestGateway gateway, string token, TestDevice device, bool enabled)
    {
        await using var process = Command(gateway, token, "public-url", $"{device.Uuid}", enabled ? "--enable" : "--disable");
        Assert.Equal(0, await process.WaitForExitAsync());
    }

    /// <summary>What a browser sends.</summary>
    private sealed class DashboardForm(TestGateway gateway, string token) : IDisposable
    {
        private readonly HttpClient _browser = new(new SocketsHttpHandler { AllowAutoRedirect = false }) { BaseAddress = new Uri($"http://127.0.0.1:{gateway.AdminPort}") };
        private string _form = "";
        private TestDevice? _device;

        public async Task SignInAsync() => await PostAsync("/signin", await FormAsync("/signin"), ("token", token));

        public Task<string> GetAsync(string path) => _browser.GetStringAsync(new Uri(path, UriKind.Relative));

        /// <summary>Opens the page with the checkbox.</summary>
        public async Task OpenAsync(TestDevice device) => (_device, _form) = (device, await FormAsync($"/devices/{device.Uuid}/actions"));

        /// <summary>Clicks it.</summary>
        public Task SwitchAsync(bool enabled) => PostAsync($"/devices/{_device!.Uuid}/public-url", _form, enabled ? [("enabled", "true")] : []);

        public void Dispose() => _browser.Dispose();

        private async Task<string> FormAsync(string path)
        {
            var page = await GetAsync(path);
            const string before = "name=\"__RequestVerificationToken\" value=\"";
            var start = page.IndexOf(before, StringComparison.Ordinal) + before.Length;
            return page[start..page.IndexOf('"', start)];
        }

        private async Task PostAsync(string path, string form, params (string Name, string Value)[] fields)
        {
            using var content = new FormUrlEncodedContent(fields.Append(("__RequestVerificationToken", form)).Select(static field => KeyValuePair.Create(field.Item1, field.Item2)));
            using var answer = await _browser.PostAsync(new Uri(path, UriKind.Relative), content);
            Assert.Equal(HttpStatusCode.Redirect, answer.StatusCode);
        }
    }
}
