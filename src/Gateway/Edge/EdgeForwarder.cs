using System.Net;
using Gateway.Listeners;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;
using Tunnel.Forwarding;
using Tunnel.Protocol;
using Tunnel.Protocol.GatewaySide;
using Yarp.ReverseProxy.Forwarder;

namespace Gateway.Edge;

/// <summary>Sends a visitor's request down a tunnel, and names what went wrong.</summary>
internal sealed partial class EdgeForwarder(
    IHttpForwarder forwarder, VisitorFields visitorFields, HostNames hosts, IOptions<EdgeOptions> options, ILogger<EdgeForwarder> logger)
{
    // YARP's own timeout counts silence in either direction; a quiet stream is none of the gateway's business.
    private static readonly ForwarderRequestConfig Config = new()
    {
        Version = HttpVersion.Version20,
        VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        ActivityTimeout = Timeout.InfiniteTimeSpan,
    };

    private readonly TimeSpan _responseTimeout = options.Value.ResponseTimeout;

    /// <summary>Forwards; null when the answer is the application's.</summary>
    /// <param name="context">The visitor's request.</param>
    /// <param name="tunnel">Where to.</param>
    /// <param name="publicUrlClosed">Ends the exchange, whatever its state.</param>
    public async Task<Failure?> ForwardAsync(HttpContext context, DeviceTunnel tunnel, CancellationToken publicUrlClosed)
    {
        using var deadline = new ResponseDeadline(_responseTimeout, publicUrlClosed);
        var transformer = new DeviceTransformer(visitorFields, hosts, deadline);
        var invoker = PromptRequest.Prepare(context, tunnel.Client.Invoker, deadline.Extend);
        var error = await forwarder.SendAsync(context, TunnelClient.DestinationPrefix, invoker, Config, transformer, deadline.Token);
        if (error == ForwarderError.None || transformer.HasAnswered)
        {
            return transformer.Failure;
        }

        var exception = context.GetForwarderErrorFeature()?.Exception;
        var failure = publicUrlClosed.IsCancellationRequested ? Failure.NotFound
            : deadline.HasPassed ? Failure.AppTimeout
            : Explain(error, exception);
        if (!context.RequestAborted.IsCancellationRequested)
        {
            var cause = exception?.GetBaseException().Message;
            LogFailed(logger, tunnel.Uuid, failure.Reason, error, cause);
        }

        return failure;
    }

    private static Failure Explain(ForwarderError error, Exception? exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            switch (inner)
            {
                // Nothing was sent: the tunnel had ended before.
                case TunnelClosedException:
                    return Failure.Offline;
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
            _ => IsOfThisExchange(exception) ? Failure.AppBroken : Failure.TunnelLost,
        };
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

    [LoggerMessage(Level = LogLevel.Information, Message = "A request to {Uuid} failed: {Reason} ({Error}: {Cause})")]
    private static partial void LogFailed(ILogger logger, DeviceUuid uuid, string reason, ForwarderError error, string? cause);
}
