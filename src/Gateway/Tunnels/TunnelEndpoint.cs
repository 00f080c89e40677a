using Gateway.Devices;
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
    TunnelRegistry registry,
    FailureDelay failures,
    DeviceCertificates certificates,
    GatewayMetrics metrics,
    TimeProvider time,
    IOptions<TunnelOptions> options,
    INode node,
    IHostApplicationLifetime lifetime,
    ILogger<TunnelEndpoint> logger)
{
    private const string BearerPrefix = "Bearer ";

    public async Task AcceptAsync(HttpContext context, string uuidText)
    {
        if (Explain(context) is { } error)
        {
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status400BadRequest, error);
            return;
        }

        // A balancer may lead the next attempt elsewhere: at once, where there is an elsewhere.
        if (node.IsDraining || lifetime.ApplicationStopping.IsCancellationRequested)
        {
            context.Response.Headers.RetryAfter = node.HasOther ? "0" : "1";
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status503ServiceUnavailable, "This node is about to stop; dial again.");
            return;
        }

        bool accepted;
        DeviceUuid uuid;
        try
        {
            accepted = await IsAuthenticAsync(context, uuidText, out uuid);
        }
        catch (StoreUnavailableException)
        {
            context.Response.Headers.RetryAfter = "2";
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status503ServiceUnavailable, "The gateway cannot check keys at the moment; dial again.");
            return;
        }

        if (!accepted)
        {
            metrics.TunnelRefused();
            LogRefused(logger, context.Connection.RemoteIpAddress);
            await failures.CountAsync(context.Connection.RemoteIpAddress, context.RequestAborted);
            context.Response.Headers.WWWAuthenticate = "Bearer";
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status401Unauthorized, "The uuid and the key do not belong together.");
            return;
        }

        context.Response.Headers[TunnelProtocol.NodeHeader] = node.Id;
        if (Avoids(context, node.Id) && node.HasOther)
        {
            await TunnelRefusal.WriteAsync(context, StatusCodes.Status409Conflict, "This node has a tunnel of the device; dial again to reach another one.");
            return;
        }

        await HoldAsync(context, uuid);
    }

    private static bool Avoids(HttpContext context, string node)
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
    private static string? Explain(HttpContext context)
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

    // Every refusal takes the same steps, so that neither the answer nor its time tells which uuids exist.
    private Task<bool> IsAuthenticAsync(HttpContext context, string uuidText, out DeviceUuid uuid)
    {
        var known = DeviceUuid.TryParse(uuidText, null, out uuid);
        var authorization = context.Request.Headers.Authorization.ToString();
        var key = authorization.StartsWith(BearerPrefix, StringComparison.OrdinalIgnoreCase) ? authorization[BearerPrefix.Length..].Trim() : "";
        return CheckAsync(known ? uuid : null, key);

        async Task<bool> CheckAsync(DeviceUuid? device, string given)
        {
            var record = device is { } id ? (await devices.FindAsync(id)).Known.Record : null;
            if (record is not null && certificates.Prove(context.Connection.ClientCertificate, record.Uuid, time.GetUtcNow()))
            {
                return true;
            }

            var hash = record?.Key;
            return (hash ?? DeviceKeyHash.Of("")).Matches(given) && hash is not null;
        }
    }

    private async Task HoldAsync(HttpContext context, DeviceUuid uuid)
    {
        if (context.Features.Get<IConnectionSocketFeature>()?.Socket is { } socket)
        {
            TcpLiveness.Apply(socket, options.Value.DeadAfter);
        }

        // Now, while the server neither reads nor writes: the request is read, and the 101 is not written.
        if (context.Features.Get<ISslStreamFeature>()?.SslStream is { } tls)
        {
            TlsBuffers.ReleaseWhenIdle(tls);
        }

        context.Response.Headers.Upgrade = TunnelProtocol.UpgradeToken;
        context.Response.Headers[TunnelProtocol.AlpnHeader] = TunnelProtocol.AlpnHttp2;
        var stream = await context.Features.GetRequiredFeature<IHttpUpgradeFeature>().UpgradeAsync();
        await using var client = new TunnelClient(stream, options.Value.Http2);
        var tunnel = new DeviceTunnel(
            uuid, Guid.NewGuid().ToString("N"), client, context.Request.Headers.UserAgent.ToString(), context.Connection.RemoteIpAddress, time.GetUtcNow());
        foreach (var surplus in registry.Add(tunnel))
        {
            await surplus.Client.DisposeAsync();
        }

        LogUp(logger, uuid, context.Connection.RemoteIpAddress);
        using var counted = metrics.TunnelUp();
        try
        {
            await client.Closed;
        }
        finally
        {
            registry.Remove(tunnel);
            LogDown(logger, uuid);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel of {Uuid} up, from {Address}")]
    private static partial void LogUp(ILogger logger, DeviceUuid uuid, System.Net.IPAddress? address);

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel of {Uuid} down")]
    private static partial void LogDown(ILogger logger, DeviceUuid uuid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A tunnel from {Address} was refused: the uuid and the key do not belong together")]
    private static partial void LogRefused(ILogger logger, System.Net.IPAddress? address);
}
