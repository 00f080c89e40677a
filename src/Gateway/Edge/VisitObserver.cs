using System.Diagnostics;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Http.Features;
using Tunnel.Protocol;

namespace Gateway.Edge;

/// <summary>
/// Sees every visit from its first step to its last, and tells those who asked: a span for the one who traces, a line for
/// the access log. When nobody asked it costs a question.
/// </summary>
internal sealed class VisitObserver(HostNames hosts, DomainDirectory domains, VisitorAddresses addresses, AccessLog accessLog, TraceChoice choice)
{
    private const string TraceParent = "traceparent";
    private const string TraceState = "tracestate";

    public Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var audience = context.GetAudience();
        if (audience != Audience.Public || hosts.IsTunnel(context.Request.Host.Value))
        {
            // A tunnel's request lasts as long as the tunnel, a probe is nobody's visit, and a hop is counted where it came from:
            // none of them belongs to requests' durations.
            context.Features.Get<IHttpMetricsTagsFeature>()?.MetricsDisabled = true;
            return audience == Audience.Node && GatewayTracing.Source.HasListeners() ? TraceHopAsync(context, next) : next(context);
        }

        return GatewayTracing.Source.HasListeners() || accessLog.IsOn ? ObserveAsync(context, next) : next(context);
    }

    private static async Task TraceHopAsync(HttpContext context, RequestDelegate next)
    {
        // A node is no stranger: what it has chosen to record is recorded here, too.
        var parent = ParentOf(context);
        using var span = parent.TraceFlags.HasFlag(ActivityTraceFlags.Recorded) ? GatewayTracing.Source.StartActivity("hop", ActivityKind.Server, parent) : null;
        await next(context);
        span?.SetTag("http.response.status_code", context.Response.StatusCode);
    }

    private async Task ObserveAsync(HttpContext context, RequestDelegate next)
    {
        var started = Stopwatch.GetTimestamp();
        var notes = new VisitNotes();
        context.Features.Set(notes);
        using var span = Start(context);
        try
        {
            await next(context);
        }
        finally
        {
            var visit = new Visit
            {
                Device = hosts.TryGetDevice(context.Request.Host.Value, out var uuid) || domains.TryGetDevice(context.Request.Host.Value, out uuid) ? uuid : null,
                Duration = Stopwatch.GetElapsedTime(started),
                // The visitor went before the answer was whole; 499 is what proxies have called it for long.
                Status = context.RequestAborted.IsCancellationRequested && !context.Response.HasStarted ? StatusCodes.Status499ClientClosedRequest : context.Response.StatusCode,
                Failure = notes.Failure ?? (context.RequestAborted.IsCancellationRequested ? "visitor-left" : null),
            };
            if (span is { IsAllDataRequested: true })
            {
                Describe(span, context, visit);
            }

            if (accessLog.IsOn)
            {
                accessLog.Write(context, visit, span);
            }
        }
    }

    private Activity? Start(HttpContext context)
    {
        if (!GatewayTracing.Source.HasListeners())
        {
            return null;
        }

        var parent = ParentOf(context);
        return choice.Takes(parent) ? GatewayTracing.Source.StartActivity(MethodOf(context) ?? "HTTP", ActivityKind.Server, parent) : null;
    }

    private static ActivityContext ParentOf(HttpContext context)
    {
        var headers = context.Request.Headers;
        return ActivityContext.TryParse(headers[TraceParent], headers[TraceState], isRemote: true, out var parent) ? parent : default;
    }

    // HTTP's semantic conventions, "HTTP server span". The query stays out: it is where tokens are found.
    private void Describe(Activity span, HttpContext context, Visit visit)
    {
        var request = context.Request;
        span.SetTag("http.request.method", MethodOf(context) ?? "_OTHER");
        span.SetTag("url.scheme", request.Scheme);
        span.SetTag("url.path", request.Path.Value);
        span.SetTag("server.address", request.Host.Host);
        span.SetTag("network.protocol.version", VersionOf(request.Protocol));
        span.SetTag("http.response.status_code", visit.Status);
        if (addresses.Of(context) is { } address)
        {
            span.SetTag("client.address", address.ToString());
        }

        if (request.Headers.UserAgent is { Count: > 0 } agent)
        {
            span.SetTag("user_agent.original", agent.ToString());
        }

        if (visit.Device is { } uuid)
        {
            span.SetTag(GatewayTracing.DeviceUuid, uuid.ToString());
        }

        if (visit.Failure is { } failure)
        {
            span.SetTag("error.type", failure);
        }

        // A server's span is in error when the server is (5xx): what a visitor did wrong is no fault here.
        if (visit.Status >= 500)
        {
            span.SetStatus(ActivityStatusCode.Error);
        }
    }

    private static string? MethodOf(HttpContext context)
    {
        var method = HttpMethods.GetCanonicalizedValue(context.Request.Method);
        return HttpMethods.IsGet(method) || HttpMethods.IsPost(method) || HttpMethods.IsHead(method) || HttpMethods.IsPut(method) || HttpMethods.IsDelete(method)
            || HttpMethods.IsPatch(method) || HttpMethods.IsOptions(method) || HttpMethods.IsConnect(method) || HttpMethods.IsTrace(method) ? method : null;
    }

    private static string VersionOf(string protocol) => HttpProtocol.IsHttp2(protocol) ? "2" : HttpProtocol.IsHttp11(protocol) ? "1.1" : HttpProtocol.IsHttp10(protocol) ? "1.0" : protocol;

    /// <summary>A visit that has ended.</summary>
    public readonly record struct Visit
    {
        /// <summary>The device whose host was asked for, whether it exists or not; null for other hosts.</summary>
        public required DeviceUuid? Device { get; init; }

        public required TimeSpan Duration { get; init; }

        public required int Status { get; init; }

        /// <summary>The failure's name (docs/failures.md), <c>visitor-left</c>, or null.</summary>
        public required string? Failure { get; init; }
    }
}
