using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text.Json;
using System.Text.RegularExpressions;
using Gateway.Tests.Certificates;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Protocol;

namespace Gateway.Tests.Telemetry;

/// <summary>A real Prometheus scrapes a gateway under traffic: what dashboards and alerts ask for is there.</summary>
public sealed partial class DashboardTests : IAsyncDisposable
{
    /// <summary>What has no data while all is well: title of the panel, or name of the alert.</summary>
    private static readonly HashSet<string> EmptyWhenAllIsWell = new(StringComparer.Ordinal)
    {
        "Nodes that another does not reach", "Tunnels that a drain ended",
        "GatewayDown", "GatewayManyDevicesLost", "GatewayErrorBudgetBurnsFast", "GatewayErrorBudgetBurns", "GatewayRedisAway", "GatewayRedisSlow",
        "GatewayWrongKeys", "GatewayTlsHandshakesFail", "GatewayMetricOverflow", "GatewayCertificateNearExpiry", "GatewayCertificateExpires", "GatewayCertificateOrdersFail",
        "GatewayCertificateBudgetUsedUp", "GatewayNodesApart", "GatewayDrainsForLong", "GatewaySheds",
    };

    private readonly List<IAsyncDisposable> _started = [];

    public async ValueTask DisposeAsync()
    {
        foreach (var one in Enumerable.Reverse(_started))
        {
            await one.DisposeAsync();
        }
    }

    [Fact]
    public async Task Every_expression_of_every_dashboard_and_alert_has_data_under_traffic()
    {
        // Two nodes that get their certificates from an ACME server, a device on each, and whatever leaves a mark.
        var receiver = Keep(await OtlpReceiver.StartAsync());
        var redis = Keep(await RedisServer.StartAsync());
        var tlsPort = RedisServer.FreePort();
        var pebble = Keep(await PebbleServer.StartAsync(tls: tlsPort));
        string[] Settings(int node, int https) =>
        [
            .. pebble.Settings("TlsAlpn").Select(static pair => $"{pair.Key}={pair.Value}"), $"Storage:Redis={redis.ConnectionString}", "Certificates:OnDemand:Enabled=true", $"Listen:Https=127.0.0.1:{https}",
            $"Cluster:Node=node-{node}", $"Cluster:Listen=127.0.0.1:{RedisServer.FreePort()}", "Cluster:Secret=a-secret-that-the-two-nodes-of-this-test-share",
            "Devices:CacheTtl=00:00:00.100", "Limits:Device:ConnectsPerMinute=0", "Edge:HoldTime=00:00:00.300", $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Traces:Ratio=1",
        ];
        var near = Keep(await GatewayProcess.StartAsync(null, Settings(1, tlsPort)));
        var far = Keep(await GatewayProcess.StartAsync(null, Settings(2, RedisServer.FreePort())));
        var prometheus = Keep(await PrometheusServer.StartAsync([near.AdminPort, far.AdminPort], Repository.File("deploy/dashboards/alerts.yaml")));
        var app = Keep(await TestApp.StartAsync(static context =>
        {
            if (context.Request.Path == "/abort")
            {
                context.Abort();
            }

            return context.Response.WriteAsync("hello");
        }));
        var devices = await near.AddDevicesAsync(3);
        var (here, there, gone) = (devices[0], devices[1], devices[2]);
        foreach (var (gateway, device, tunnels) in new[] { (near, here, "2"), (far, there, "1") })
        {
            await Keep(gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority), new() { ["GATEWAY_CONNECTIONS"] = tunnels })).WaitForOutputAsync("Tunnel up");
        }

        using var stop = new CancellationTokenSource();
        var left = new TaskCompletionSource();
        var traffic = TrafficAsync(near, here, there, gone, tlsPort, left, stop.Token);
        await await Task.WhenAny(left.Task, traffic); // whatever leaves a mark has left it

        var expressions = Dashboards().Concat(Alerts()).ToList();
        Assert.True(expressions.Count > 60, $"There are only {expressions.Count} expressions.");
        var answered = 0;
        foreach (var (name, expression) in expressions.Where(static known => !EmptyWhenAllIsWell.Contains(known.Name)))
        {
            await Eventually.TrueAsync(
                async () =>
                {
                    if (traffic.IsCompleted)
                    {
                        await traffic; // says what went wrong
                    }

                    return (await prometheus.QueryAsync(expression)).Any(static one => !double.IsNaN(one.Value));
                },
                $"{name} has data: {expression}");
            answered++;
        }

        // Of the others the metrics exist at least, and the expressions are valid.
        var metrics = (await prometheus.QueryAsync("group by (__name__) ({job=\"gateway\"})")).Select(static series => series.Labels["__name__"]).ToHashSet(StringComparer.Ordinal);
        foreach (var (name, expression) in expressions)
        {
            await prometheus.QueryAsync(expression);
            foreach (var metric in Metric().Matches(expression).Select(static match => match.Value))
            {
                Assert.True(metrics.Contains(metric) || metric.StartsWith("gateway:", StringComparison.Ordinal), $"{name}: there is no metric {metric}.");
            }
        }

        // A slow answer leads to its trace.
        await Eventually.TrueAsync(async () => (await prometheus.ExemplarsAsync("gateway_response_delay_seconds_bucket")).Count > 0, "there are exemplars");
        var exemplar = (await prometheus.ExemplarsAsync("gateway_response_delay_seconds_bucket"))[0];
        Assert.NotEmpty(await receiver.SpansAsync(exemplar, 2));
        await stop.CancelAsync();
        await traffic;
        TestContext.Current.TestOutputHelper?.WriteLine($"{expressions.Count} expressions, {answered} with data, {expressions.Count - answered} expectedly empty; {metrics.Count} metrics");
    }

    [Fact]
    public async Task Promtool_accepts_the_rules_and_their_tests()
    {
        foreach (var arguments in new[] { new[] { "check", "rules", "alerts.yaml" }, ["test", "rules", "alerts.test.yaml"] })
        {
            await using var promtool = ChildProcess.Start("promtool", arguments, workingDirectory: Repository.File("deploy/dashboards"));
            var status = await promtool.WaitForExitAsync();
            Assert.True(status == 0, promtool.Output);
        }
    }

    [Fact]
    public async Task What_is_written_is_what_the_tables_say()
    {
        await using var build = ChildProcess.Start("node", [Repository.File("deploy/dashboards/build.mjs"), "--check"]);
        var status = await build.WaitForExitAsync();
        Assert.True(status == 0, build.Output);
    }

    [Fact]
    public void Every_alert_has_a_runbook()
    {
        var text = File.ReadAllText(Repository.File("deploy/dashboards/alerts.yaml"));
        Assert.Equal(text.Split("- alert:").Length, text.Split("runbook:").Length);
        foreach (var page in Runbook().Matches(text).Select(static match => match.Groups["page"].Value))
        {
            Assert.True(File.Exists(Repository.File(page)), $"There is no {page}.");
        }
    }

    // Everything that leaves a mark: answers, hops, failures, unknown hosts, guessed keys, tunnels that end, second ways, waits, handshakes.
    private static async Task TrafficAsync(GatewayProcess gateway, TestDevice here, TestDevice there, TestDevice gone, int tlsPort, TaskCompletionSource left, CancellationToken stop)
    {
        using var visitor = gateway.CreateVisitor();
        for (; !stop.IsCancellationRequested; left.TrySetResult())
        {
            foreach (var url in new[] { gateway.Url(here), gateway.Url(here, "/abort"), gateway.Url(there), $"http://nothing.localhost:{gateway.Port}/" })
            {
                using var response = await visitor.GetAsync(url, CancellationToken.None);
            }

            // Devices dial, a visitor comes for a certificate at first use, a stranger for one that he does not get, and a scanner.
            foreach (var name in new[] { "tunnel.localhost", $"{here.Uuid}.localhost", $"{DeviceUuid.New()}.localhost", null })
            {
                await ShakeHandsAsync(tlsPort, name);
            }

            await ShakeHandsAsync(tlsPort, "tunnel.localhost", "of a device that speaks something else");

            await using var guess = await RawConnection.OpenAsync(gateway.Port);
            await guess.SendAsync(Dial(here.Uuid, "wrong"));

            // The newest tunnel ends under a visitor's request: there is another one. A device whose only one has ended: its visitor waits.
            while (!await EndUnderRequestAsync(gateway, here, visitor))
            {
            }

            await (await DialAsync(gateway, gone)).DisposeAsync();
            using var nobody = await visitor.GetAsync(gateway.Url(gone), CancellationToken.None);
        }
    }

    // False when the device's own agent dialled at the same moment, so that the request went through that tunnel.
    private static async Task<bool> EndUnderRequestAsync(GatewayProcess gateway, TestDevice device, HttpClient visitor)
    {
        var passing = await DialAsync(gateway, device);
        var request = visitor.GetAsync(gateway.Url(device), CancellationToken.None);
        var taken = passing.ReadUntilAsync("PRI");
        var wasTaken = await Task.WhenAny(taken, request) == taken;
        await passing.DisposeAsync();
        await ((Task)taken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        using var answer = await request;
        return wasTaken && taken.IsCompletedSuccessfully;
    }

    private static string Dial(DeviceUuid uuid, string key) =>
        $"GET /v1/devices/{uuid}/tunnel HTTP/1.1\r\nHost: tunnel.localhost\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {key}\r\n\r\n";

    private static async Task<RawConnection> DialAsync(GatewayProcess gateway, TestDevice device)
    {
        var connection = await RawConnection.OpenAsync(gateway.Port);
        await connection.SendAsync(Dial(device.Uuid, device.Key));
        Assert.StartsWith("HTTP/1.1 101", await connection.ReadHeadAsync(), StringComparison.Ordinal);
        return connection;
    }

    // With a name a handshake that trusts nobody but comes to its end where there is a certificate; without one no TLS at all.
    private static async Task ShakeHandsAsync(int port, string? name, string protocol = "http/1.1")
    {
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, port);
        if (name is null)
        {
            await client.GetStream().WriteAsync("GET / HTTP/1.1\r\n\r\n"u8.ToArray());
            return;
        }

        await using var tls = new SslStream(client.GetStream());
        try
        {
            await tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = name, ApplicationProtocols = [new SslApplicationProtocol(protocol)] });
        }
        catch (Exception exception) when (exception is AuthenticationException or IOException)
        {
            // There is no certificate yet, or it is the test server's; or the protocol is not spoken.
        }
    }

    private T Keep<T>(T started)
        where T : IAsyncDisposable
    {
        _started.Add(started);
        return started;
    }

    private static IEnumerable<(string Name, string Expression)> Dashboards() =>
        from file in Directory.GetFiles(Repository.File("deploy/dashboards"), "*.json")
        from panel in JsonDocument.Parse(File.ReadAllText(file)).RootElement.GetProperty("panels").EnumerateArray()
        from target in panel.GetProperty("targets").EnumerateArray()
        select (panel.GetProperty("title").GetString()!, target.GetProperty("expr").GetString()!
            .Replace("$__rate_interval", "1m", StringComparison.Ordinal).Replace("$job", ".*", StringComparison.Ordinal).Replace("$instance", ".*", StringComparison.Ordinal));

    // Prometheus itself says what it has loaded; the file is read for the names only.
    private static IEnumerable<(string Name, string Expression)> Alerts() => Rule().Matches(File.ReadAllText(Repository.File("deploy/dashboards/alerts.yaml")))
        .Select(static rule => (rule.Groups["name"].Value.Trim(), Regex.Replace(rule.Groups["expr"].Value.TrimStart('|'), @"\s+", " ", RegexOptions.None, TimeSpan.FromSeconds(1)).Trim()));

    [GeneratedRegex(@"- (?:alert|record): (?<name>\S+)\s+expr: (?<expr>(?:\|\n(?:\s{10,}.*\n)+)|.*\n)", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Rule();

    [GeneratedRegex(@"\b(?!http_response_status_code|http_request_method|http_connection_state|db_operation_name|gateway_certificate\b)(?:gateway|http|kestrel|dotnet|db)[:_][a-z0-9_:]+", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Metric();

    [GeneratedRegex(@"runbook: (?<page>\S+)", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Runbook();
}
