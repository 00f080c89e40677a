using System.Diagnostics;
using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Gateway.Tests.Telemetry;

/// <summary>Traces, as a receiver of OTLP gets them.</summary>
public sealed class TraceTests
{
    private static readonly ActivitySource AppSource = new("TestApp");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_request_is_one_trace_from_the_visitor_to_the_application(bool grpc)
    {
        await using var receiver = await OtlpReceiver.StartAsync();
        using var appTraces = TraceApp(receiver);
        await using var app = await StartAppAsync();
        await using var gateway = await GatewayProcess.StartAsync(
            null, $"Telemetry:Otlp:Endpoint={receiver.Url(grpc)}", $"Telemetry:Otlp:Protocol={(grpc ? "Grpc" : "HttpProtobuf")}", "Telemetry:Traces:Ratio=1", "Telemetry:Otlp:Headers=api-key=k1");
        var device = (await gateway.AddDevicesAsync(1))[0];
        await using var agent = gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority), new() { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.Url() });
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();
        var trace = ActivityTraceId.CreateRandom().ToHexString();
        var visitorSpan = ActivitySpanId.CreateRandom().ToHexString();

        using var request = new HttpRequestMessage(HttpMethod.Get, gateway.Url(device, "/page?token=secret"));
        request.Headers.TryAddWithoutValidation("traceparent", $"00-{trace}-{visitorSpan}-01");
        request.Headers.UserAgent.ParseAdd("tester/1");
        using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        appTraces.ForceFlush();

        var spans = await receiver.SpansAsync(trace, 4);
        TestContext.Current.TestOutputHelper?.WriteLine(Tree(spans, visitorSpan));
        var edge = Assert.Single(spans, span => span.ParentId == visitorSpan);
        var tunnel = Assert.Single(spans, span => span.ParentId == edge.SpanId);
        var onDevice = Assert.Single(spans, span => span.ParentId == tunnel.SpanId);
        var inApp = Assert.Single(spans, span => span.ParentId == onDevice.SpanId);
        Assert.Equal(("gateway", "GET", 2), (edge.Service, edge.Name, edge.Kind));
        Assert.Equal(("gateway", "tunnel", 3), (tunnel.Service, tunnel.Name, tunnel.Kind));
        Assert.Equal(("gateway-agent", "agent", 2), (onDevice.Service, onDevice.Name, onDevice.Kind));
        Assert.Equal(("app", "app"), (inApp.Service, inApp.Name));
        Assert.Equal(
            [
                ("client.address", "127.0.0.1"), ("gateway.device.uuid", $"{device.Uuid}"), ("http.request.method", "GET"), ("http.response.status_code", "200"), ("network.protocol.version", "1.1"),
                ("server.address", $"{device.Uuid}.localhost"), ("url.path", "/page"), ("url.scheme", "http"), ("user_agent.original", "tester/1"),
            ],
            edge.Attributes.OrderBy(static pair => pair.Key, StringComparer.Ordinal).Select(static pair => (pair.Key, pair.Value)));
        Assert.DoesNotContain(spans, static span => span.Attributes.Values.Any(static value => value.Contains("secret", StringComparison.Ordinal)));
        Assert.Contains("k1", receiver.Keys.Keys);
    }

    [Fact]
    public async Task Through_two_nodes_it_is_one_trace_too()
    {
        Assert.SkipUnless(TestStore.IsRedis, "Two nodes need one Redis.");
        await using var receiver = await OtlpReceiver.StartAsync();
        var inner = new[] { RedisServer.FreePort(), RedisServer.FreePort() };
        string[] Settings(int node) =>
        [
            $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Traces:Ratio=1", $"Cluster:Node=node-{node}", $"Cluster:Listen=127.0.0.1:{inner[node]}",
            "Cluster:Secret=a-secret-that-the-two-nodes-of-this-test-share", "Cluster:Heartbeat=00:00:00.500",
        ];
        await using var first = await GatewayProcess.StartAsync(null, Settings(0));
        await using var second = await GatewayProcess.StartAsync(null, Settings(1));
        using var appTraces = TraceApp(receiver);
        await using var app = await StartAppAsync();
        var device = (await first.AddDevicesAsync(1))[0];
        await using var agent = second.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority), new() { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = receiver.Url(), ["GATEWAY_CONNECTIONS"] = "1" });
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = first.CreateVisitor();
        await Eventually.TrueAsync(
            async () =>
            {
                using var warm = await visitor.GetAsync(first.Url(device), TestContext.Current.CancellationToken);
                return warm.IsSuccessStatusCode;
            },
            "the device answers through the other node");

        var trace = ActivityTraceId.CreateRandom().ToHexString();
        var visitorSpan = ActivitySpanId.CreateRandom().ToHexString();
        using var request = new HttpRequestMessage(HttpMethod.Get, first.Url(device));
        request.Headers.TryAddWithoutValidation("traceparent", $"00-{trace}-{visitorSpan}-01");
        using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);

        appTraces.ForceFlush();
        var spans = await receiver.SpansAsync(trace, 6);
        TestContext.Current.TestOutputHelper?.WriteLine(Tree(spans, visitorSpan));
        var edge = Assert.Single(spans, span => span.ParentId == visitorSpan);
        var hop = Assert.Single(spans, span => span.ParentId == edge.SpanId);
        var arrival = Assert.Single(spans, span => span.ParentId == hop.SpanId);
        var tunnel = Assert.Single(spans, span => span.ParentId == arrival.SpanId);
        var onDevice = Assert.Single(spans, span => span.ParentId == tunnel.SpanId);
        Assert.Equal(("hop", "node-1"), (hop.Name, hop.Attributes["gateway.node.id"]));
        Assert.Equal(("hop", 2), (arrival.Name, arrival.Kind));
        Assert.Equal("tunnel", tunnel.Name);
        Assert.Equal("app", Assert.Single(spans, span => span.ParentId == onDevice.SpanId).Service);
    }

    [Fact]
    public async Task A_failure_is_named_on_the_spans_and_a_visitor_does_not_choose_to_be_recorded()
    {
        await using var receiver = await OtlpReceiver.StartAsync();
        await using var gateway = await GatewayProcess.StartAsync(null, $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Traces:Ratio=0.5", "Telemetry:AccessLog:Addresses=None");
        var device = (await gateway.AddDevicesAsync(1))[0];
        using var visitor = gateway.CreateVisitor();

        // The sampler looks at the trace's id: of these one is above the half and one below it, whatever their flags say.
        const string passed = "7fffffffffffffff16cd43dd00000001";
        const string recorded = "000000000000000116cd43dd00000001";
        foreach (var (id, flags) in new[] { (passed, "01"), (recorded, "00") })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, gateway.Url(device));
            request.Headers.TryAddWithoutValidation("traceparent", $"00-{id}-b7ad6b7169203331-{flags}");
            using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
        }

        var span = Assert.Single(await receiver.SpansAsync(recorded, 1));
        Assert.Equal("device-offline", span.Attributes["error.type"]);
        Assert.Equal(2, span.Status);
        Assert.DoesNotContain("client.address", span.Attributes.Keys);
        Assert.DoesNotContain(receiver.Spans, static received => received.TraceId == passed);
    }

    [Fact]
    public async Task What_is_not_recorded_is_marked_so_for_other_nodes_and_the_agent()
    {
        await using var receiver = await OtlpReceiver.StartAsync();
        await using var gateway = await GatewayProcess.StartAsync(null, $"Telemetry:Otlp:Endpoint={receiver.Url()}", "Telemetry:Traces:Ratio=0.5");
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync(context.Request.Headers.TraceParent.ToString()));
        var device = (await gateway.AddDevicesAsync(1))[0];
        await using var agent = gateway.StartAgent(device, app.Url.GetLeftPart(UriPartial.Authority));
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();
        async Task<string> AskAsync(string? traceparent)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, gateway.Url(device));
            request.Headers.TryAddWithoutValidation("traceparent", traceparent is null ? [] : [traceparent]);
            using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
            return await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        }

        // By its id the one is not recorded, and the other is, by a span of the gateway's own.
        Assert.Equal("00-7fffffffffffffff16cd43dd00000001-b7ad6b7169203331-00", await AskAsync("00-7fffffffffffffff16cd43dd00000001-b7ad6b7169203331-01"));
        Assert.Matches("^00-000000000000000116cd43dd00000001-(?!b7ad6b7169203331)[0-9a-f]{16}-01$", await AskAsync("00-000000000000000116cd43dd00000001-b7ad6b7169203331-00"));

        // Without one it is drawn: of 200 about half, and never all or none.
        var drawn = 0;
        for (var i = 0; i < 200; i++)
        {
            drawn += (await AskAsync(null)).EndsWith("-01", StringComparison.Ordinal) ? 1 : 0;
        }

        Assert.InRange(drawn, 40, 160);
    }

    // The application traces too, as any may that understands traceparent.
    private static TracerProvider TraceApp(OtlpReceiver receiver) => Sdk.CreateTracerProviderBuilder()
        .ConfigureResource(static resource => resource.AddService("app"))
        .AddSource(AppSource.Name)
        .AddOtlpExporter(otlp =>
        {
            otlp.Protocol = OtlpExportProtocol.HttpProtobuf;
            otlp.Endpoint = new Uri($"{receiver.Url()}/v1/traces");
        })
        .Build();

    private static Task<TestApp> StartAppAsync() => TestApp.StartAsync(static async context =>
    {
        Assert.True(ActivityContext.TryParse(context.Request.Headers["traceparent"], null, isRemote: true, out var parent));
        using var span = AppSource.StartActivity("app", ActivityKind.Server, parent);
        await context.Response.WriteAsync("hello");
    });

    private static string Tree(IReadOnlyList<ReceivedSpan> spans, string parent, string indent = "") => string.Concat(
        spans.Where(span => span.ParentId == parent).Select(span => $"{indent}{span.Service}: {span.Name} [{span.SpanId}]\n{Tree(spans, span.SpanId, indent + "  ")}"));
}
