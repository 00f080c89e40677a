using System.Globalization;
using Gateway.Devices;
using Gateway.Limits;
using Gateway.Storage;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tunnels;

/// <summary>
/// Takes a device's handshake (docs/protocol.md): checks it, answers 101, and holds the connection until it ends. From
/// the 101 on the device is the HTTP/2 server and this side its client.
/// </summary>
internal sealed partial class TunnelEndpoint(
    DeviceDirectory devices,
    DeviceActivity activity,
    TunnelRegistry registry,
    FailureDelay failures,
    TunnelTraffic traffic,
    DeviceCertificates certificates,
    TunnelBudget budget,
    GatewayMetrics metrics,
    TimeProvider time,
    IOptions<TunnelOptions> options,
    INode node,
    IHostApplicationLifetime lifetime,
    ILogger<TunnelEndpoint> logger)
{
    /// <summary>Seconds, the most: a node that is alone is back soon.</summary>
    private const int MaxStopPause = 5;

    /// <summary>Seconds, the most, while Redis is away.</summary>
    private const int MaxStorePause = 10;

    public async Task AcceptAsync(HttpContext context, string uuidText)
    {
        if (Explain(context) is { } error)
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.Malformed);
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status400BadRequest, error);
            return;
        }

        // A balancer may lead the next attempt elsewhere: at once, where there is an elsewhere.
        if (node.IsDraining || lifetime.ApplicationStopping.IsCancellationRequested)
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.Stopping);
            context.Response.Headers.RetryAfter = node.HasOther ? "0" : Spread(MaxStopPause);
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status503ServiceUnavailable, "This node is about to stop; dial again.");
            return;
        }

        if (!budget.HasMemory())
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.Full);
            await RefuseFullAsync(context);
            return;
        }

        // Every refusal takes the same steps, so that neither the answer nor its time tells which uuids exist.
        var isUuid = DeviceUuid.TryParse(uuidText, null, out var uuid);
        CertificateProof? proof = null;
        DeviceEntry.KeyWatch? watch;
        try
        {
            watch = await devices.AuthenticateAsync(
                isUuid ? uuid : null, DeviceKeyHash.OfBearer(context.Request), device => (proof = certificates.Prove(context.Connection.ClientCertificate, device)) is not null);
        }
        catch (StoreUnavailableException)
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.StoreUnavailable);
            context.Response.Headers.RetryAfter = Spread(MaxStorePause);
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status503ServiceUnavailable, "The gateway cannot check keys at the moment; dial again.");
            return;
        }

        if (watch is null)
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.WrongKey);
            LogRefused(logger, context.Connection.RemoteIpAddress);
            await failures.CountAsync(context.Connection.RemoteIpAddress, context.RequestAborted);
            context.Response.Headers.WWWAuthenticate = "Bearer";
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status401Unauthorized, "The uuid and the key do not belong together.");
            return;
        }

        context.Response.Headers[TunnelProtocol.NodeHeader] = node.Id;
        var right = new TunnelRight(budget, watch, proof is null ? null : certificates.StartWatch(proof));
        Task? rest = null;
        try
        {
            if (await IsTakenAsync(context, right))
            {
                context.Features.Get<ConnectionUse>()?.BecomeTunnel();
                rest = await OpenAsync(context, uuid, right);
            }
        }
        finally
        {
            if (rest is null)
            {
                right.Dispose();
            }
        }

        if (rest is not null)
        {
            await rest;
        }
    }

    /// <summary>Whether the node takes the tunnel; when not, that is answered.</summary>
    private async Task<bool> IsTakenAsync(HttpContext context, TunnelRight right)
    {
        if (Avoids(context, node.Id) && node.HasOther)
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.Elsewhere);
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status409Conflict, "This node has a tunnel of the device; dial again to reach another one.");
            return false;
        }

        // Those that are led elsewhere are no tunnels.
        if (!budget.TryConnect(right.Use))
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.TooOften);
            context.Response.Headers.RetryAfter = "10";
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status429TooManyRequests, "The device dials too often; dial again later.");
            return false;
        }

        if (!right.TryCount())
        {
            metrics.TunnelConnect(GatewayMetrics.Connect.Full);
            await RefuseFullAsync(context);
            return false;
        }

        return true;
    }

    private static Task RefuseFullAsync(HttpContext context)
    {
        context.Response.Headers.RetryAfter = "5";
        return TunnelRefusal.WriteAsync(context, StatusCodes.Status503ServiceUnavailable, "This node takes no more devices for now; dial again later.");
    }

    // Those who are turned away together do not come back together, whatever their agents do.
    private static string Spread(int seconds) => Random.Shared.Next(1, seconds + 1).ToString(CultureInfo.InvariantCulture);

    /// <summary>Whether the device says that it has a tunnel to a node.</summary>
    internal static bool Avoids(HttpContext context, string node)
    {
        var list = context.Request.Headers[TunnelProtocol.AvoidHeader].ToString();
        foreach (var range in list.AsSpan().Split(','))
        {
            if (list.AsSpan(range).Trim().SequenceEqual(node))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What is wrong with the handshake itself; null when nothing is.</summary>
    internal static string? Explain(HttpContext context)
    {
        var request = context.Request;
        if (!HttpMethods.IsGet(request.Method) || !HttpProtocol.IsHttp11(request.Protocol))
        {
            return "A tunnel begins with GET over HTTP/1.1.";
        }

        if (context.Features.Get<IHttpUpgradeFeature>() is not { IsUpgradableRequest: true }
            || !request.Headers.Upgrade.ToString().Equals(TunnelProtocol.UpgradeToken, StringComparison.OrdinalIgnoreCase))
        {
            return $"A tunnel needs the fields \"Connection: upgrade\" and \"Upgrade: {TunnelProtocol.UpgradeToken}\".";
        }

        return request.Headers[TunnelProtocol.AlpnHeader].ToString() == TunnelProtocol.AlpnHttp2
            ? null
            : $"A tunnel needs the field \"{TunnelProtocol.AlpnHeader}: {TunnelProtocol.AlpnHttp2}\" (HTTP/2 is what is spoken after the 101).";
    }

    /// <summary>Answers 101; what the request waits for then: a connection that is the server's would end with it.</summary>
    private async Task<Task> OpenAsync(HttpContext context, DeviceUuid uuid, TunnelRight right)
    {
        var socket = context.Features.Get<IConnectionSocketFeature>()?.Socket;
        if (socket is not null)
        {
            TunnelTcp.Apply(socket, options.Value.DeadAfter);
        }

        // Now, while the server neither reads nor writes: the request is read, and the 101 is not written.
        var connection = context.Features.Get<DeviceConnection>();
        connection?.ReleaseBuffers();
        context.Response.Headers.Upgrade = TunnelProtocol.UpgradeToken;
        context.Response.Headers[TunnelProtocol.AlpnHeader] = TunnelProtocol.AlpnHttp2;
        var stream = await context.Features.GetRequiredFeature<IHttpUpgradeFeature>().UpgradeAsync();
        var taken = connection?.TryTake();
        if (taken is { Use: var use })
        {
            right.Take(use);
        }

        // Nothing of the request outlives it.
        using (ExecutionContext.SuppressFlow())
        {
            var tunnel = new DeviceTunnel(
                uuid,
                ConnectionId.New(),
                taken is { Tls: var tls } ? new TunnelClient(tls, options.Value.Http2, traffic, TlsBuffers.ReleaseRead, socket) : new TunnelClient(stream, options.Value.Http2, traffic),
                CommonTexts.Share(context.Request.Headers.UserAgent.ToString()),
                context.Connection.RemoteIpAddress,
                time.GetUtcNow(),
                right.Use);
            tunnel.Life = HoldAsync(tunnel, right, taken is null ? context.Features.GetRequiredFeature<IConnectionLifetimeFeature>() : null);
            return taken is null ? tunnel.Life : Task.CompletedTask;
        }
    }

    private async Task HoldAsync(DeviceTunnel tunnel, TunnelRight right, IConnectionLifetimeFeature? server)
    {
        using var ends = right;
        await using var client = tunnel.Client;
        foreach (var surplus in registry.Add(tunnel))
        {
            surplus.IsSurplus = true;
            surplus.Client.End();
        }

        metrics.TunnelConnect(GatewayMetrics.Connect.Accepted);
        var upSince = time.GetTimestamp();
        LogUp(logger, tunnel.Uuid, tunnel.Address);
        using var counted = metrics.TunnelUp();
        try
        {
            right.AtEnd(client.End);
            await client.Closed;
        }
        finally
        {
            registry.Remove(tunnel);
            DeviceTraffic.Count(tunnel, activity);
            metrics.TunnelEnded(
                time.GetElapsedTime(upSince),
                tunnel.IsSurplus ? GatewayMetrics.TunnelEnd.Surplus
                : client.IsFlooded ? GatewayMetrics.TunnelEnd.Flooded
                : lifetime.ApplicationStopping.IsCancellationRequested ? GatewayMetrics.TunnelEnd.Stopping
                : GatewayMetrics.TunnelEnd.Lost);
            if (client.IsFlooded)
            {
                LogFlooded(logger, tunnel.Uuid);
            }

            LogDown(logger, tunnel.Uuid);
            if (client.IsBroken)
            {
                // Who breaks the rules may not read either, and the server would wait for that before it closes.
                server?.Abort();
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel of {Uuid} up, from {Address}")]
    private static partial void LogUp(ILogger logger, DeviceUuid uuid, System.Net.IPAddress? address);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The tunnel of {Uuid} was ended: its agent floods it with frames (RFC 9113 section 10.5)")]
    private static partial void LogFlooded(ILogger logger, DeviceUuid uuid);

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel of {Uuid} down")]
    private static partial void LogDown(ILogger logger, DeviceUuid uuid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A tunnel from {Address} was refused: the uuid and the key do not belong together")]
    private static partial void LogRefused(ILogger logger, System.Net.IPAddress? address);
}
