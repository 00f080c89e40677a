using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Telemetry;

/// <summary>A real Prometheus scrapes a gateway under traffic: what dashboards and alerts ask for is there.</summary>
public sealed partial class DashboardTests
{
    /// <summary>What has no data while all is well, on one node: title of the panel, or name of the alert.</summary>
    private static readonly HashSet<string> EmptyWhenAllIsWell = new(StringComparer.Ordinal)
    {
        "Waiting for a device to return", "Second ways",
        "GatewayDown", "GatewayManyDevicesLost", "GatewayErrorBudgetBurnsFast", "GatewayErrorBudgetBurns", "GatewayRedisAway", "GatewayRedisSlow",
        "GatewayWrongKeys", "GatewayTlsHandshakesFail", "GatewayMetricOverflow",
    };

    /// <summary>Metrics that come with several nodes only; TraceTests shows them.</summary>
    private static readonly HashSet<string> OnlyElsewhere = new(StringComparer.Ordinal)
    {
        "gateway_requests_held", "gateway_node_hops_total", "gateway_requests_repeated_total",
    };

    [Fact]
    public async Task Every_expression_of_every_dashboard_and_alert_has_data_under_traffic()
    {
        await using var receiver = await OtlpReceiver.StartAsync();
        var tlsPort = RedisServer.FreePort();
        await using var gateway = await GatewayProcess.StartAsync(
            null, $"Listen:Https=127.0.0.1:{tlsPort}", $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}", "Devices:CacheTtl=00:00:00.100", $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Traces:Ratio=1");
        await using var prometheus = await PrometheusServer.StartAsync([gateway.AdminPort], Repository.File("deploy/dashboards/alerts.yaml"));
        await using var app = await TestApp.StartAsync(static context =>
        {
            if (context.Request.Path == "/abort")
            {
                context.Abort();
            }

            return context.Response.WriteAsync("hello");
        });
        var device = await gateway.AddDeviceAsync();
        await using var agent = gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority));
        await agent.WaitForOutputAsync("Tunnel up");
        using var stop = new CancellationTokenSource();
        var traffic = TrafficAsync(gateway, device, tlsPort, stop.Token);

        var expressions = Dashboards().Concat(Alerts()).ToList();
        Assert.True(expressions.Count > 30, $"There are only {expressions.Count} expressions.");
        var answered = 0;
        foreach (var (name, expression) in expressions.Where(static known => !EmptyWhenAllIsWell.Contains(known.Name)))
        {
            await Eventually.TrueAsync(
                async () => (await prometheus.QueryAsync(expression)) is { Count: > 0 } series && series.Any(static one => !double.IsNaN(one.Value)), $"{name} has data: {expression}");
            answered++;
        }

        // Of the others the metrics exist at least, and the expressions are valid.
        var metrics = (await prometheus.QueryAsync("group by (__name__) ({job=\"gateway\"})")).Select(static series => series.Labels["__name__"]).ToHashSet(StringComparer.Ordinal);
        foreach (var (name, expression) in expressions)
        {
            await prometheus.QueryAsync(expression);
            foreach (var metric in Metric().Matches(expression).Select(static match => match.Value).Where(static metric => !OnlyElsewhere.Contains(metric)))
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

    // Everything that leaves a mark: answers, WebSockets, failures, unknown hosts, guessed keys, tunnels that end.
    private static async Task TrafficAsync(GatewayProcess gateway, TestDevice device, int tlsPort, CancellationToken stop)
    {
        using var visitor = gateway.CreateVisitor();
        while (!stop.IsCancellationRequested)
        {
            foreach (var url in new[] { gateway.Url(device), gateway.Url(device, "/abort"), $"http://nothing.localhost:{gateway.Port}/" })
            {
                using var response = await visitor.GetAsync(url, CancellationToken.None);
            }

            await using (await RawConnection.OpenAsync(tlsPort, tls: true, $"tunnel.{TestGateway.Domain}"))
            {
                await using var scan = await RawConnection.OpenAsync(tlsPort);
                await scan.SendAsync("GET / HTTP/1.1\r\n\r\n");
            }

            await using var guess = await RawConnection.OpenAsync(gateway.Port);
            await guess.SendAsync($"GET /v1/devices/{device.Uuid}/tunnel HTTP/1.1\r\nHost: tunnel.localhost\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer wrong\r\n\r\n");
            await using var passing = await RawConnection.OpenAsync(gateway.Port);
            await passing.SendAsync($"GET /v1/devices/{device.Uuid}/tunnel HTTP/1.1\r\nHost: tunnel.localhost\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {device.Key}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 101", await passing.ReadHeadAsync(), StringComparison.Ordinal);
        }
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

    [GeneratedRegex(@"\b(?!http_response_status_code|http_request_method|http_connection_state|db_operation_name)(?:gateway|http|kestrel|dotnet|db)[:_][a-z0-9_:]+", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Metric();

    [GeneratedRegex(@"runbook: (?<page>\S+)", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Runbook();
}
