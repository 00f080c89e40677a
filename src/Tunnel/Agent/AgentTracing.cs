using System.Diagnostics;
using OpenTelemetry.Exporter;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Tunnel.Agent;

/// <summary>
/// A span for each request that the gateway traces, if the agent was told where to send it. Otherwise the trace context
/// just passes: devices pay for bytes.
/// </summary>
internal static class AgentTracing
{
    private const string TraceParent = "traceparent";
    private const string TraceState = "tracestate";

    private static readonly ActivitySource Source = new("GatewayAgent", AgentApplication.Version);

    public static void AddTracing(this WebApplicationBuilder builder, AgentSettings settings)
    {
        if (settings.Otlp is not { } receiver)
        {
            return;
        }

        builder.Services.AddOpenTelemetry()
            .ConfigureResource(resource => resource.AddService("gateway-agent", serviceVersion: AgentApplication.Version, serviceInstanceId: settings.Uuid.ToString()))
            .WithTracing(traces => traces
                .AddSource(Source.Name)
                .SetSampler(new ParentBasedSampler(new AlwaysOffSampler())) // what is recorded is the gateway's choice
                .AddOtlpExporter(otlp =>
                {
                    otlp.Protocol = OtlpExportProtocol.HttpProtobuf;
                    otlp.Endpoint = new Uri($"{receiver.AbsoluteUri.TrimEnd('/')}/v1/traces");
                }));
    }

    /// <summary>Begins the agent's span of a request; null when it is not traced.</summary>
    public static Activity? Start(HttpContext context)
    {
        if (!Source.HasListeners())
        {
            return null;
        }

        var headers = context.Request.Headers;
        var parent = ActivityContext.TryParse(headers[TraceParent], headers[TraceState], isRemote: true, out var given) ? given : default;
        var span = Source.StartActivity("agent", ActivityKind.Server, parent);
        span?.SetTag("http.request.method", context.Request.Method);
        span?.SetTag("url.path", context.Request.Path.Value);
        return span;
    }

    /// <summary>Makes the application's span the child of the agent's (W3C Trace Context).</summary>
    public static void Pass(Activity span, HttpRequestMessage request)
    {
        request.Headers.Remove(TraceParent);
        request.Headers.TryAddWithoutValidation(TraceParent, span.Id);
    }
}
