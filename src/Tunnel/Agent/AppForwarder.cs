using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using Tunnel.Forwarding;
using Tunnel.Protocol;
using Yarp.ReverseProxy.Forwarder;

namespace Tunnel.Agent;

/// <summary>
/// Hands a visitor's request to the application on the device, and to nothing else: the target is the configured one,
/// whatever the request says.
/// </summary>
internal sealed partial class AppForwarder(
    IHttpForwarder forwarder, AgentSettings settings, IHostApplicationLifetime lifetime, ILogger<AppForwarder> logger) : IDisposable
{
    // Who waits and for how long is the gateway's affair: it sees the visitor.
    private static readonly ForwarderRequestConfig Http11 = new()
    {
        Version = HttpVersion.Version11,
        VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        ActivityTimeout = Timeout.InfiniteTimeSpan,
    };

    // gRPC exists on HTTP/2 only; without TLS it begins with the preface (RFC 9113 section 3.3, prior knowledge).
    private static readonly ForwarderRequestConfig Http2 = Http11 with { Version = HttpVersion.Version20 };

    private readonly string _target = settings.Target.GetLeftPart(UriPartial.Authority);
    private readonly HttpMessageInvoker _invoker = new(CreateHandler(settings));

    public async Task ForwardAsync(HttpContext context)
    {
        WebSocketFarewell.Arm(context, lifetime.ApplicationStopping);
        using var span = AgentTracing.Start(context);
        var transformer = new AppTransformer(span);
        var error = await SendAsync(context, transformer);
        span?.SetTag("http.response.status_code", context.Response.StatusCode);
        if (transformer.SwitchedUnasked)
        {
            await AnswerAsync(context, StatusCodes.Status502BadGateway, "http_protocol_error", null, isApplications: true);
        }
        else if (error != ForwarderError.None && !context.RequestAborted.IsCancellationRequested && (IsOfApplication(error) || !context.Response.HasStarted))
        {
            var exception = context.GetForwarderErrorFeature()?.Exception;
            var (status, name) = Name(exception);
            await AnswerAsync(context, status, name, exception, isApplications: IsOfApplication(error));
        }
    }

    public void Dispose() => _invoker.Dispose();

    private async Task<ForwarderError> SendAsync(HttpContext context, AppTransformer transformer)
    {
        if (context.Request.ContentType?.StartsWith("application/grpc", StringComparison.OrdinalIgnoreCase) == true)
        {
            return await forwarder.SendAsync(context, _target, PromptRequest.Prepare(context, _invoker), Http2, transformer);
        }

        if (IsSafe(context.Request.Method) && !PromptRequest.MayHaveContent(context))
        {
            return await forwarder.SendAsync(context, _target, _invoker, Http11, transformer);
        }

        using var upload = AppUpload.Create(context, CreateHandler(settings));
        return await forwarder.SendAsync(context, _target, upload, Http11, transformer);
    }

    private static bool IsOfApplication(ForwarderError error) =>
        error is ForwarderError.Request or ForwarderError.RequestTimedOut or ForwarderError.RequestBodyDestination or ForwarderError.ResponseHeaders or ForwarderError.ResponseBodyDestination;

    // RFC 9110 section 9.2.1. An extended CONNECT is a WebSocket's GET by now (RFC 8441 section 5).
    private static bool IsSafe(string method) =>
        HttpMethods.IsGet(method) || HttpMethods.IsHead(method) || HttpMethods.IsOptions(method) || HttpMethods.IsTrace(method) || HttpMethods.IsConnect(method);

    /// <summary>Says, if it still can, that this answer is the agent's: by <c>Proxy-Status</c> (RFC 9209 section 2.3).</summary>
    private async Task AnswerAsync(HttpContext context, int status, string error, Exception? exception, bool isApplications)
    {
        Activity.Current?.SetTag("error.type", error).SetStatus(ActivityStatusCode.Error);
        if (isApplications)
        {
            LogFailed(logger, settings.Target, error, exception?.GetBaseException().Message);
        }

        if (!context.Response.HasStarted)
        {
            context.Response.Clear();
            context.Response.StatusCode = status;
            context.Response.Headers["Proxy-Status"] = $"{TunnelProtocol.AgentProxyName}; error={error}";
            await context.Response.CompleteAsync();
        }
    }

    private static (int Status, string Error) Name(Exception? exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                case SocketException { SocketErrorCode: SocketError.ConnectionRefused }:
                    return (StatusCodes.Status502BadGateway, "connection_refused");
                case SocketException { SocketErrorCode: SocketError.HostUnreachable or SocketError.NetworkUnreachable }:
                    return (StatusCodes.Status502BadGateway, "destination_ip_unroutable");
                case SocketException { SocketErrorCode: SocketError.HostNotFound or SocketError.TryAgain or SocketError.NoData }:
                    return (StatusCodes.Status502BadGateway, "dns_error");
                case TimeoutException or SocketException { SocketErrorCode: SocketError.TimedOut }:
                    return (StatusCodes.Status504GatewayTimeout, "connection_timeout");
                case AuthenticationException:
                    return (StatusCodes.Status502BadGateway, "tls_protocol_error");
                case HttpRequestException { HttpRequestError: HttpRequestError.InvalidResponse or HttpRequestError.HttpProtocolError or HttpRequestError.ConfigurationLimitExceeded }:
                    return (StatusCodes.Status502BadGateway, "http_protocol_error");
                default:
                    break;
            }
        }

        return (StatusCodes.Status502BadGateway, "connection_terminated");
    }

    private static SocketsHttpHandler CreateHandler(AgentSettings settings)
    {
        var handler = new SocketsHttpHandler
        {
            ConnectTimeout = TimeSpan.FromSeconds(10),
            PooledConnectionIdleTimeout = TimeSpan.FromSeconds(60),
            MaxResponseHeadersLength = 64,
            EnableMultipleHttp2Connections = true,
            RequestHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            ActivityHeadersPropagator = null,
        };
        if (settings.TargetInsecure)
        {
#pragma warning disable CA5359 // Asked for by name: the application's own certificate, on the device itself.
            handler.SslOptions.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
#pragma warning restore CA5359
        }

        return handler;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "The application at {Target} could not be asked: {Error} ({Reason})")]
    private static partial void LogFailed(ILogger logger, Uri target, string error, string? reason);

    private sealed class AppTransformer(Activity? span) : TransparentTransformer
    {
        /// <summary>The application answered 101 to a request that did not ask for it.</summary>
        public bool SwitchedUnasked { get; private set; }

        public override async ValueTask TransformRequestAsync(
            HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
        {
            await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);
            if (span is not null)
            {
                AgentTracing.Pass(span, proxyRequest);
            }
        }

        public override async ValueTask<bool> TransformResponseAsync(HttpContext httpContext, HttpResponseMessage? proxyResponse, CancellationToken cancellationToken)
        {
            if (proxyResponse?.StatusCode == HttpStatusCode.SwitchingProtocols && !AskedForWebSocket(proxyResponse))
            {
                SwitchedUnasked = true;
                return false;
            }

            var copy = await base.TransformResponseAsync(httpContext, proxyResponse, cancellationToken);

            // By this field the gateway tells the agent's answers from the application's, so the application has none.
            httpContext.Response.Headers.Remove("Proxy-Status");
            return copy;
        }

        // The only switch that crosses an HTTP/2 hop, and only to what was asked for (RFC 8441, RFC 9110 section 7.8).
        private static bool AskedForWebSocket(HttpResponseMessage response) =>
            response.RequestMessage!.Headers.Upgrade.Any(static asked => asked.Name.Equals("websocket", StringComparison.OrdinalIgnoreCase))
            && response.Headers.Upgrade.Any(static given => given.Name.Equals("websocket", StringComparison.OrdinalIgnoreCase));
    }
}
