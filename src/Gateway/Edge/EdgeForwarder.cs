using System.Diagnostics;
using System.Net;
using Gateway.Cluster;
using Gateway.Listeners;
using Gateway.Telemetry;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;
using Tunnel.Forwarding;
using Tunnel.Protocol;
using Tunnel.Protocol.GatewaySide;
using Yarp.ReverseProxy.Forwarder;

namespace Gateway.Edge;

/// <summary>What came of one attempt to forward a request.</summary>
/// <param name="Failure">Null when the answer is the application's.</param>
/// <param name="Repeatable">Whether the request may go another way.</param>
internal readonly record struct Attempt(Failure? Failure, Repeatable Repeatable = Repeatable.No);

/// <summary>Whether a request may be sent once more (RFC 9110 section 9.2.2): nothing is executed twice.</summary>
internal enum Repeatable
{
    /// <summary>It has begun to be answered, or the application may have acted upon it.</summary>
    No,

    /// <summary>The application may have seen it, and its method is safe.</summary>
    Safe,

    /// <summary>No byte of it has reached the application.</summary>
    Unsent,
}

/// <summary>Sends a visitor's request down a tunnel, or to the node that has one, and names what went wrong.</summary>
internal sealed partial class EdgeForwarder(
    IHttpForwarder forwarder, NodeClients peers, Nodes nodes, VisitorFields visitorFields, HostNames hosts, IOptions<EdgeOptions> options, GatewayMetrics metrics, ILogger<EdgeForwarder> logger)
{
    // YARP's own timeout counts silence in either direction; a quiet stream is none of the gateway's business.
    private static readonly ForwarderRequestConfig Config = new()
    {
        Version = HttpVersion.Version20,
        VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        ActivityTimeout = Timeout.InfiniteTimeSpan,
    };

    private readonly TimeSpan _responseTimeout = options.Value.ResponseTimeout;

    /// <summary>Forwards a visitor's request.</summary>
    /// <param name="context">The visitor's request.</param>
    /// <param name="uuid">The device it is for.</param>
    /// <param name="route">Where to.</param>
    /// <param name="backlog">Watches the exchange.</param>
    /// <param name="publicUrlClosed">Ends the exchange, whatever its state.</param>
    public async Task<Attempt> ForwardAsync(HttpContext context, DeviceUuid uuid, RouteResult route, Backlogs.ExchangeBacklog backlog, CancellationToken publicUrlClosed)
    {
        using var deadline = new ResponseDeadline(_responseTimeout, publicUrlClosed);
        backlog.End(deadline);
        switch (route)
        {
            case RouteResult.Local { Tunnel: var tunnel }:
                return await SendAsync(
                    context, uuid, new Span(tunnel, null), tunnel.Client.Invoker, TunnelClient.DestinationPrefix, new DeviceTransformer(visitorFields, hosts, deadline, backlog, null), backlog, deadline, publicUrlClosed);
            case RouteResult.Remote { Node: var node }:
                metrics.Hopped();
                var attempt = await SendAsync(
                    context, uuid, new Span(null, node), peers.For(node), NodeClients.DestinationPrefix, new DeviceTransformer(visitorFields, hosts, deadline, backlog, uuid), backlog, deadline, publicUrlClosed);
                if (attempt.Failure?.Reason == Failure.NodeUnreachable.Reason)
                {
                    nodes.MarkUnreachable(node);
                }

                return attempt;
            default:
                throw new InvalidOperationException($"{route} is no way to a device.");
        }
    }

    /// <summary>Forwards a request that another node has handed over; that node knows the visitor and the limits.</summary>
    public async Task<Attempt> ForwardHopAsync(HttpContext context, DeviceTunnel tunnel, Backlogs.ExchangeBacklog backlog)
    {
        using var deadline = new ResponseDeadline(Timeout.InfiniteTimeSpan, CancellationToken.None);
        backlog.End(deadline);
        return await SendAsync(context, tunnel.Uuid, new Span(tunnel, null), tunnel.Client.Invoker, TunnelClient.DestinationPrefix, new HopTransformer(backlog), backlog, deadline, CancellationToken.None);
    }

    private async Task<Attempt> SendAsync(
        HttpContext context, DeviceUuid uuid, Span where, HttpMessageInvoker invoker, string prefix, EdgeTransformer transformer, Backlogs.ExchangeBacklog backlog, ResponseDeadline deadline, CancellationToken publicUrlClosed)
    {
        using var span = where.Start(context, uuid);
        var started = Stopwatch.GetTimestamp();
        var prepared = PromptRequest.Prepare(context, invoker, deadline.Extend, backlog);
        var error = await forwarder.SendAsync(context, prefix, prepared, Config, transformer, deadline.Token);
        if (context.Request.Body is UploadBody body)
        {
            await body.SettleAsync();
        }

        if (transformer.AnsweredAt is { } answeredAt)
        {
            metrics.Answered(Stopwatch.GetElapsedTime(started, answeredAt));
        }

        span?.SetTag("http.response.status_code", context.Response.StatusCode);
        if (error == ForwarderError.None || transformer.HasAnswered)
        {
            // The agent of an exchange that was given up sees no more than that it is gone, and may say so just in time.
            var named = backlog.IsGivenUp && transformer.Failure is not null ? Failure.DeviceBusy : transformer.Failure;
            return named is null ? default : new Attempt(named, MayRepeat(context, named));
        }

        metrics.ForwarderFailed(error.ToString());
        var exception = context.GetForwarderErrorFeature()?.Exception;
        var failure = publicUrlClosed.IsCancellationRequested ? Failure.NotFound
            : backlog.IsGivenUp ? Failure.DeviceBusy
            : deadline.HasPassed ? Failure.AppTimeout
            : Explain(error, exception, toNode: prefix == NodeClients.DestinationPrefix);
        span?.Fail(failure.Reason);
        if (!context.RequestAborted.IsCancellationRequested)
        {
            var cause = exception?.GetBaseException().Message;
            LogFailed(logger, IsOfVisitor(failure) ? LogLevel.Debug : LogLevel.Information, uuid, failure.Reason, error, cause);
        }

        return new Attempt(failure, MayRepeat(context, failure));
    }

    /// <summary>The client's span of one way (HTTP's semantic conventions, "HTTP client span"); costs nothing while nobody traces.</summary>
    private readonly record struct Span(DeviceTunnel? Tunnel, NodeRecord? Node)
    {
        public Activity? Start(HttpContext context, DeviceUuid uuid)
        {
            // Without a span of the visit, or of the hop, the request is not traced.
            if (Activity.Current is null || GatewayTracing.Source.StartActivity(Tunnel is null ? "hop" : "tunnel", ActivityKind.Client) is not { } span)
            {
                return null;
            }

            span.SetTag("http.request.method", context.Request.Method);
            span.SetTag("network.protocol.name", "http");
            span.SetTag("network.protocol.version", "2");
            span.SetTag("gateway.tunnel.id", Tunnel?.ConnectionId.ToString());
            span.SetTag("gateway.node.id", Node?.Id);
            span.SetTag(GatewayTracing.DeviceUuid, uuid.ToString());
            return span;
        }
    }

    private static Repeatable MayRepeat(HttpContext context, Failure failure)
    {
        if (context.Response.HasStarted || context.RequestAborted.IsCancellationRequested || !PromptRequest.IsWhole(context))
        {
            return Repeatable.No;
        }

        return failure.Reason == Failure.Offline.Reason || failure.Reason == Failure.NodeUnreachable.Reason ? Repeatable.Unsent
            : failure.Reason == Failure.TunnelLost.Reason && IsSafe(context.Request.Method) ? Repeatable.Safe
            : Repeatable.No;
    }

    // RFC 9110 section 9.2.1; a WebSocket's CONNECT stands for a GET (RFC 8441 section 5).
    private static bool IsSafe(string method) =>
        HttpMethods.IsGet(method) || HttpMethods.IsHead(method) || HttpMethods.IsOptions(method) || HttpMethods.IsTrace(method) || HttpMethods.IsConnect(method);

    private static Failure Explain(ForwarderError error, Exception? exception, bool toNode)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                // Nothing was sent: the tunnel had ended before.
                case TunnelClosedException:
                    return Failure.Offline;

                // Nothing was sent: there was no connection to the other node.
                case HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.SecureConnectionError or HttpRequestError.NameResolutionError } when toNode:
                case TimeoutException when toNode:
                    return Failure.NodeUnreachable;
                case BadHttpRequestException bad:
                    return Failure.BadRequest.WithStatus(bad.StatusCode);
                case HttpRequestException { HttpRequestError: HttpRequestError.ExtendedConnectNotSupported }:
                    return Failure.UpgradeNotSupported.Because("The device's agent does not pass WebSockets (RFC 8441).");
                default:
                    break;
            }
        }

        return error switch
        {
            ForwarderError.RequestCreation => Failure.BadRequest,
            ForwarderError.RequestBodyClient => Failure.BadRequest,
            ForwarderError.ResponseHeaders => Failure.AppBroken,
            _ => !IsEndOfTunnel(exception) && IsOfThisExchange(exception) ? Failure.AppBroken : Failure.TunnelLost,
        };
    }

    // A tunnel that ended before its first frame looks like an answer that is no HTTP, but no application has given it.
    private static bool IsEndOfTunnel(Exception? exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is HttpIOException { HttpRequestError: HttpRequestError.ResponseEnded })
            {
                return true;
            }
        }

        return false;
    }

    // The device reset this one stream (RFC 9113 section 5.4.2), or its answer's head is too large: its tunnel lives.
    // Only the message tells the end of a stream from that of the connection.
    private static bool IsOfThisExchange(Exception? exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is HttpProtocolException && inner.Message.Contains("reset the stream", StringComparison.Ordinal)
                || inner is HttpRequestException { HttpRequestError: HttpRequestError.ConfigurationLimitExceeded or HttpRequestError.InvalidResponse })
            {
                return true;
            }
        }

        return false;
    }

    // What anybody can cause as often as he likes, an upload that he leaves half-way for one; operators see it in the metrics.
    private static bool IsOfVisitor(Failure failure) =>
        failure.Reason == Failure.BadRequest.Reason || failure.Reason == Failure.NotFound.Reason || failure.Reason == Failure.DeviceBusy.Reason;

    [LoggerMessage(Message = "A request to {Uuid} failed: {Reason} ({Error}: {Cause})")]
    private static partial void LogFailed(ILogger logger, LogLevel level, DeviceUuid uuid, string reason, ForwarderError error, string? cause);
}
