using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Options;
using Tunnel.Forwarding;
using Tunnel.Protocol;

namespace Gateway.Edge;

/// <summary>
/// A visitor's request, from its host to its answer:
/// <code>
///   visitor --HTTP/1.1, HTTP/2--> (1) host -> uuid  (2) uuid -> record  (3) public URL on?  (4) a way, or wait for one  (5) forward --HTTP/2--> [node -->] agent --> application
///                                     |                 |                   |                   |    ^                      |
///                                     |                 |                   |                   |    +-- another way -------+
///   visitor &lt;------- (6) explain -----+-----------------+-------------------+-------------------+----------------------+
/// </code>
/// </summary>
internal sealed class EdgeMiddleware(
    HostNames hosts, DomainDirectory domains, DeviceDirectory devices, DeviceActivity activity, Router router, EdgeForwarder forwarder, ActiveVisits visits, EdgeBudgets budgets, Backlogs backlogs, GatewayMetrics metrics,
    TimeProvider time, IOptions<EdgeOptions> options)
{
    /// <summary>The most ways that one request goes.</summary>
    private const int MaxAttempts = 8;

    private readonly TimeSpan _holdTime = options.Value.HoldTime;

    public async Task InvokeAsync(HttpContext context)
    {
        var isWebSocket = IsWebSocket(context);
        using var visit = visits.Begin();
        using var counted = metrics.Visit(isWebSocket);
        using var admission = budgets.Admit(context);
        if ((admission.Refusal ?? await TryServeAsync(context, isWebSocket)) is { } failure && !context.RequestAborted.IsCancellationRequested)
        {
            // 6. Every failure has a name.
            var isCutOff = context.Response.HasStarted;
            using var backlog = backlogs.Watch(context);
            await FailureResponse.WriteAsync(context, failure, metrics);
            if (!isCutOff)
            {
                await backlog.LeaveAsync();
            }
        }
    }

    /// <summary>Serves the request; null when the answer is the application's.</summary>
    private async ValueTask<Failure?> TryServeAsync(HttpContext context, bool isWebSocket)
    {
        if (Refuse(context, isWebSocket) is { } refusal)
        {
            return refusal;
        }

        // 1. Who is asked for?
        if (!hosts.TryGetDevice(context.Request.Host.Value, out var uuid) && !domains.TryGetDevice(context.Request.Host.Value, out uuid))
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

            using var turn = budgets.Enter(entry, isWebSocket);
            if (turn.IsRefused)
            {
                return Failure.DeviceBusy;
            }

            using var backlog = backlogs.Watch(context, entry.Use);
            if (isWebSocket)
            {
                WebSocketFarewell.Arm(context, visits.Leaving, backlog);
            }

            var started = time.GetTimestamp();
            var failure = await ForwardAsync(context, uuid, entry, known, backlog);
            activity.Visited(uuid, context, failure?.Status ?? context.Response.StatusCode, failure?.Reason, started);
            if (failure is null)
            {
                await backlog.LeaveAsync();
            }

            return failure;
        }
        finally
        {
            entry.Release();
        }
    }

    private async ValueTask<Failure?> ForwardAsync(HttpContext context, DeviceUuid uuid, DeviceEntry entry, DeviceEntry.Known known, Backlogs.ExchangeBacklog backlog)
    {
        List<RouteResult>? tried = null;
        var failure = Failure.Offline;
        var repeated = false;
        long lostSince = 0;
        while (true)
        {
            // 4. Which way is there?
            if (router.Find(uuid, known, tried) is { } way)
            {
                // 5. That way.
                entry.MarkReachable();
                var attempt = await forwarder.ForwardAsync(context, uuid, way, backlog, entry.PublicUrlClosed);
                if (attempt.Repeatable == Repeatable.No || tried?.Count == MaxAttempts || (attempt.Repeatable == Repeatable.Safe && repeated))
                {
                    return attempt.Failure;
                }

                (tried ??= []).Add(way);
                failure = attempt.Failure!;
                repeated |= attempt.Repeatable == Repeatable.Safe;
                metrics.Repeated();
                context.Response.Clear();
            }
            else if (!await HoldAsync(context, uuid, entry, known, tried, lostSince))
            {
                return failure;
            }
            else
            {
                known = entry.Last ?? known;
                if (known.Record is not { PublicUrl: true })
                {
                    return Failure.NotFound;
                }
            }

            lostSince = lostSince == 0 ? time.GetTimestamp() : lostSince;
        }
    }

    /// <summary>Waits for news of a device that was there a moment ago; false when there is nothing to wait for any more.</summary>
    private async Task<bool> HoldAsync(
        HttpContext context, DeviceUuid uuid, DeviceEntry entry, DeviceEntry.Known known, List<RouteResult>? tried, long lostSince)
    {
        var left = lostSince == 0 ? _holdTime : _holdTime - time.GetElapsedTime(lostSince);
        if (left <= TimeSpan.Zero || !router.WasReachableWithin(entry, known, _holdTime, time.GetUtcNow()))
        {
            return false;
        }

        // What has come since the last look is not missed.
        var changed = entry.WhenChangedAsync();
        if (router.Find(uuid, entry.Last ?? known, tried) is not null)
        {
            return true;
        }

        using var held = metrics.Hold();
        try
        {
            await changed.WaitAsync(left, time, context.RequestAborted);
            return true;
        }
        catch (Exception exception) when (exception is TimeoutException or OperationCanceledException)
        {
            return false;
        }
    }

    private static Failure? Refuse(HttpContext context, bool isWebSocket)
    {
        if (HttpMethods.IsConnect(context.Request.Method) && !isWebSocket)
        {
            return Failure.MethodNotAllowed;
        }

        // Said at once: an application that answers without reading its request must not be faster than the refusal.
        if (context.Request.ContentLength is { } length && length > context.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize)
        {
            return Failure.BadRequest.WithStatus(StatusCodes.Status413PayloadTooLarge).Because("The request's content is larger than the gateway lets through.");
        }

        // A server may ignore an upgrade that it does not speak (RFC 9110 section 7.8). "h2c" is offered by clients that are
        // as happy with HTTP/1.1; who asks for anything else cannot go on without it.
        if (!isWebSocket && context.Features.Get<IHttpUpgradeFeature>() is { IsUpgradableRequest: true })
        {
            var upgrade = context.Request.Headers.Upgrade.ToString();
            if (!upgrade.Equals("h2c", StringComparison.OrdinalIgnoreCase))
            {
                return Failure.UpgradeNotSupported;
            }
        }

        return null;
    }

    // Over HTTP/1.1 an upgrade, over HTTP/2 an extended CONNECT (RFC 8441).
    private static bool IsWebSocket(HttpContext context) =>
        HttpProtocol.IsHttp11(context.Request.Protocol)
            ? context.Request.Headers.Upgrade is [{ } upgrade] && upgrade.Equals("websocket", StringComparison.OrdinalIgnoreCase)
            : context.Features.Get<IHttpExtendedConnectFeature>() is { IsExtendedConnect: true } connect
                && "websocket".Equals(connect.Protocol, StringComparison.OrdinalIgnoreCase);

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
