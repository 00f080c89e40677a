using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Telemetry;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Http.Features;

namespace Gateway.Edge;

/// <summary>
/// A visitor's request, from its host to its answer:
/// <code>
///   visitor --HTTP/1.1, HTTP/2--> (1) host -> uuid  (2) uuid -> record  (3) public URL on?  (4) tunnel  (5) forward --HTTP/2--> agent --> application
///                                     |                 |                   |                   |           |
///   visitor &lt;------- (6) explain -----+-----------------+-------------------+-------------------+-----------+
/// </code>
/// </summary>
internal sealed class EdgeMiddleware(
    HostNames hosts, DeviceDirectory devices, TunnelRegistry tunnels, EdgeForwarder forwarder, ActiveVisits visits, GatewayMetrics metrics)
{
    public async Task InvokeAsync(HttpContext context)
    {
        using var visit = visits.Begin();
        using var counted = metrics.Visit();
        if (await TryServeAsync(context) is { } failure && !context.RequestAborted.IsCancellationRequested)
        {
            // 6. Every failure has a name.
            metrics.Failed(failure.Reason);
            await FailureResponse.WriteAsync(context, failure);
        }
    }

    /// <summary>Serves the request; null when the answer is the application's.</summary>
    private async ValueTask<Failure?> TryServeAsync(HttpContext context)
    {
        if (Refuse(context) is { } refusal)
        {
            return refusal;
        }

        // 1. Who is asked for?
        if (!hosts.TryGetDevice(context.Request.Host.Value, out var uuid))
        {
            return Failure.NotFound;
        }

        // 2. What is known of the device? From memory, as a rule.
        DeviceEntry entry;
        DeviceEntry.Known known;
        do
        {
            try
            {
                (entry, known) = await devices.FindAsync(uuid);
            }
            catch (StoreUnavailableException)
            {
                return Failure.StoreUnavailable;
            }
        }
        while (!entry.TryLease());

        try
        {
            // 3. May visitors see it?
            if (known.Record is not { PublicUrl: true })
            {
                return Failure.NotFound;
            }

            if (IsServerWideOptions(context))
            {
                return null;
            }

            // 4. Where is its tunnel?  5. Down the tunnel.
            return tunnels.Find(uuid) is { } tunnel
                ? await forwarder.ForwardAsync(context, tunnel, known.PublicUrlClosed)
                : Failure.Offline;
        }
        finally
        {
            entry.Release();
        }
    }

    private static Failure? Refuse(HttpContext context)
    {
        var isExtendedConnect = context.Features.Get<IHttpExtendedConnectFeature>() is { IsExtendedConnect: true } connect
            && "websocket".Equals(connect.Protocol, StringComparison.OrdinalIgnoreCase);
        if (HttpMethods.IsConnect(context.Request.Method) && !isExtendedConnect)
        {
            return Failure.MethodNotAllowed;
        }

        // A server may ignore an upgrade that it does not speak (RFC 9110 section 7.8). "h2c" is offered by clients that are
        // as happy with HTTP/1.1; who asks for anything else cannot go on without it.
        if (context.Features.Get<IHttpUpgradeFeature>() is { IsUpgradableRequest: true })
        {
            var upgrade = context.Request.Headers.Upgrade.ToString();
            if (!upgrade.Equals("websocket", StringComparison.OrdinalIgnoreCase) && !upgrade.Equals("h2c", StringComparison.OrdinalIgnoreCase))
            {
                return Failure.UpgradeNotSupported;
            }
        }

        return null;
    }

    // "OPTIONS *" asks about the server and not about a resource (RFC 9110 section 9.3.7); for a device's host the gateway is the server.
    private static bool IsServerWideOptions(HttpContext context)
    {
        if (!HttpMethods.IsOptions(context.Request.Method) || context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget != "*")
        {
            return false;
        }

        context.Response.ContentLength = 0;
        return true;
    }
}
