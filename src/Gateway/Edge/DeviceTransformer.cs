using Gateway.Cluster;
using Gateway.Listeners;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;
using Tunnel.Protocol;

namespace Gateway.Edge;

/// <summary>
/// What one exchange changes on its way: the visitor is made known to the device, and what a device says stays within its
/// own host.
/// </summary>
/// <param name="visitorFields">What the device is told of the visitor.</param>
/// <param name="hosts">The hosts of the gateway.</param>
/// <param name="deadline">The limit for the head of the answer.</param>
/// <param name="backlog">Watches the exchange on this node.</param>
/// <param name="hop">The device, when the request goes to another node that has its tunnel.</param>
internal sealed class DeviceTransformer(VisitorFields visitorFields, HostNames hosts, ResponseDeadline deadline, Backlogs.ExchangeBacklog backlog, DeviceUuid? hop) : EdgeTransformer
{
    public override async ValueTask TransformRequestAsync(
        HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
    {
        await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);
        if (proxyRequest.RequestUri is null)
        {
            Failure = Failure.BadRequest.Because("The request's target is neither a path nor a URI with a host alone.");
            return;
        }

        visitorFields.Write(httpContext, proxyRequest);
        if (hop is { } device)
        {
            proxyRequest.Headers.Remove(HopProtocol.DeviceHeader);
            proxyRequest.Headers.TryAddWithoutValidation(HopProtocol.DeviceHeader, device.ToString());
            proxyRequest.Headers.Remove(HopProtocol.HostHeader);
            proxyRequest.Headers.TryAddWithoutValidation(HopProtocol.HostHeader, httpContext.Request.Headers.Host.ToString());
            proxyRequest.Headers.Host = null;
        }
    }

    public override async ValueTask<bool> TransformResponseAsync(
        HttpContext httpContext, HttpResponseMessage? proxyResponse, CancellationToken cancellationToken)
    {
        if (proxyResponse is null)
        {
            return false;
        }

        deadline.Meet();
        AnsweredAt = System.Diagnostics.Stopwatch.GetTimestamp();
        if (backlog.IsGivenUp)
        {
            // What comes now is the answer to an exchange that was cut off, whoever gives it.
            Failure = Failure.DeviceBusy;
            return false;
        }

        if (proxyResponse.Headers.NonValidated.TryGetValues(ProxyStatus, out var status)
            && (AgentFailure(status.ToString()) ?? NodeFailure(status.ToString())) is { } failure)
        {
            Failure = failure;
            return false;
        }

        if (!await base.TransformResponseAsync(httpContext, proxyResponse, cancellationToken))
        {
            return false;
        }

        KeepWithinHost(httpContext.Response.Headers);
        if (!IsRegistered(httpContext.Response.StatusCode))
        {
            // A device may answer with any three digits; each would be a series of its own.
            httpContext.Features.Get<IHttpMetricsTagsFeature>()?.MetricsDisabled = true;
        }

        return true;
    }

    // The ranges that IANA's registry of status codes fills (RFC 9110 section 16.2).
    private static bool IsRegistered(int status) => status is (>= 100 and <= 104) or (>= 200 and <= 208) or 226 or (>= 300 and <= 308) or (>= 400 and <= 431) or 451 or (>= 500 and <= 511);

    /// <summary>Reads <c>gateway-agent; error=connection_refused</c>; null when the agent does not speak for itself.</summary>
    private static Failure? AgentFailure(string proxyStatus)
    {
        const string marker = $"{TunnelProtocol.AgentProxyName}; error=";
        if (!proxyStatus.StartsWith(marker, StringComparison.Ordinal))
        {
            return null;
        }

        return proxyStatus[marker.Length..] switch
        {
            "connection_refused" => Failure.NothingListens,
            "connection_timeout" => Failure.DeviceUnreachable,
            "http_protocol_error" => Failure.AppBroken with { ProxyError = "http_protocol_error" },
            "destination_ip_unroutable" => Failure.NothingListens with { ProxyError = "destination_ip_unroutable" },
            "dns_error" => Failure.NothingListens with { ProxyError = "dns_error" },
            "tls_protocol_error" => Failure.AppBroken with { ProxyError = "tls_protocol_error" },
            _ => Failure.AppBroken,
        };
    }

    /// <summary>Reads <c>gateway-node; error=device-offline</c>; null when it is not a node that speaks.</summary>
    private Failure? NodeFailure(string proxyStatus)
    {
        const string marker = $"{HopProtocol.ProxyName}; error=";
        return hop is not null && proxyStatus.StartsWith(marker, StringComparison.Ordinal) ? Failure.Of(proxyStatus[marker.Length..]) : null;
    }

    // Device hosts are siblings under one parent, and strangers to each other.
    private void KeepWithinHost(IHeaderDictionary headers)
    {
        // Only the gateway's own answers carry it.
        headers.Remove(ProxyStatus);

        // Another place to find this origin would be found without the gateway (RFC 7838).
        headers.Remove(HeaderNames.AltSvc);

        if (headers.TryGetValue(HeaderNames.StrictTransportSecurity, out var hsts) && hsts.ToString().Contains("includeSubDomains", StringComparison.OrdinalIgnoreCase))
        {
            headers.Remove(HeaderNames.StrictTransportSecurity);
        }

        if (headers.TryGetValue(HeaderNames.SetCookie, out var cookies) && cookies.Any(NamesParent))
        {
            headers.SetCookie = new StringValues([.. cookies.Where(cookie => !NamesParent(cookie))]);
        }
    }

    // "a=b; Domain=.resindevice.io" (RFC 6265 section 5.2.3); the last Domain counts, so any will do to refuse.
    private bool NamesParent(string? cookie)
    {
        foreach (var range in cookie.AsSpan().Split(';'))
        {
            var attribute = cookie.AsSpan()[range].Trim();
            var equals = attribute.IndexOf('=');
            if (equals > 0 && attribute[..equals].TrimEnd().Equals("Domain", StringComparison.OrdinalIgnoreCase)
                && hosts.IsBaseOrAbove(attribute[(equals + 1)..].Trim()))
            {
                return true;
            }
        }

        return false;
    }
}
