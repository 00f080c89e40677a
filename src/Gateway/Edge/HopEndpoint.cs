using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Limits;
using Gateway.Tunnels;
using Tunnel.Forwarding;
using Tunnel.Protocol;

namespace Gateway.Edge;

/// <summary>Takes what another node hands over on the inner listener, and sends it down a tunnel of this node.</summary>
internal sealed partial class HopEndpoint(Nodes nodes, TunnelRegistry tunnels, EdgeForwarder forwarder, DeviceDirectory devices, ActiveVisits visits, Backlogs backlogs, MemoryWatch memory, ILogger<HopEndpoint> logger)
{
    public async Task AcceptAsync(HttpContext context)
    {
        // 1. Who asks? A node that has just come may not be known yet.
        if (!await IsPeerAsync(context))
        {
            // It may be a node that this one has forgotten: then it sends the request another way.
            LogStranger(logger, context.Connection.RemoteIpAddress);
            Refuse(context, Failure.NodeUnreachable, StatusCodes.Status403Forbidden);
            return;
        }

        if (!context.Request.Headers.ContainsKey(HopProtocol.DeviceHeader))
        {
            await TellAsync(context);
            return;
        }

        if (context.Request.Headers.TryGetValue(HopProtocol.HostHeader, out var host))
        {
            context.Request.Headers.Host = host;
        }

        using var visit = visits.Begin();
        if (await TryServeAsync(context) is { } failure && !context.RequestAborted.IsCancellationRequested)
        {
            Refuse(context, failure, StatusCodes.Status502BadGateway);
        }
    }

    /// <summary>Another node asks what is known of a device: Redis is away for it.</summary>
    private async Task TellAsync(HttpContext context)
    {
        if (DeviceUuid.TryParse(context.Request.Headers[HopProtocol.QuestionHeader].ToString(), null, out var uuid) && await devices.TellAsync(uuid) is { } known)
        {
            await context.Response.WriteAsJsonAsync(Neighbours.Write(known), context.RequestAborted);
            return;
        }

        context.Response.StatusCode = StatusCodes.Status404NotFound;
    }

    private async Task<Failure?> TryServeAsync(HttpContext context)
    {
        if (memory.IsShedding)
        {
            return Failure.Overloaded;
        }

        // 2. For which device?
        if (!DeviceUuid.TryParse(context.Request.Headers[HopProtocol.DeviceHeader].ToString(), null, out var uuid))
        {
            return Failure.BadRequest;
        }

        // 3. Down its tunnel: the newest, or the next one while nothing is lost by that.
        var failure = Failure.Offline;
        var all = tunnels.FindAll(uuid);
        if (all.Length == 0)
        {
            return failure;
        }

        using var backlog = backlogs.Watch(context, all[0].Use);
        WebSocketFarewell.Arm(context, visits.Leaving, backlog);
        foreach (var tunnel in all)
        {
            if (!tunnel.Client.IsOpen)
            {
                continue;
            }

            var attempt = await forwarder.ForwardHopAsync(context, tunnel, backlog);
            if (attempt.Failure is null || attempt.Repeatable != Repeatable.Unsent)
            {
                return attempt.Failure;
            }

            failure = attempt.Failure;
            context.Response.Clear();
        }

        return failure;
    }

    private async ValueTask<bool> IsPeerAsync(HttpContext context)
    {
        if (context.Connection.ClientCertificate is not { } certificate)
        {
            return false;
        }

        var hash = NodeIdentity.HashOf(certificate);
        if (nodes.IsPeer(hash))
        {
            return true;
        }

        try
        {
            await nodes.RefreshAsync();
        }
        catch (Exception exception) when (Storage.RedisConnection.IsUnavailable(exception))
        {
            return false;
        }

        return nodes.IsPeer(hash);
    }

    /// <summary>The first node explains it to the visitor.</summary>
    private static void Refuse(HttpContext context, Failure failure, int status)
    {
        if (context.Response.HasStarted)
        {
            context.Abort();
            return;
        }

        context.Response.Clear();
        context.Response.StatusCode = status;
        context.Response.Headers["Proxy-Status"] = $"{HopProtocol.ProxyName}; error={failure.Reason}";
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A stranger at {Address} was refused on the inner listener: its certificate is that of no node")]
    private static partial void LogStranger(ILogger logger, System.Net.IPAddress? address);
}
