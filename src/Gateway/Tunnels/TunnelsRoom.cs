using Gateway.Listeners;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tunnels;

internal static class TunnelsRoom
{
    public static void AddTunnels(this WebApplicationBuilder builder)
    {
        // A response has a window's bytes under way and no more: who reads fast at first, and then not at all, would otherwise hold
        // 16 MiB of it here. The platform reads the switch at its first request.
        AppContext.SetSwitch("System.Net.SocketsHttpHandler.Http2FlowControl.DisableDynamicWindowSizing", true);

        builder.Services.AddOptions<TunnelOptions>().BindConfiguration(TunnelOptions.Section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<TunnelOptions>, TunnelOptions.Validator>();
        builder.Services.AddSingleton<TunnelRegistry>();
        builder.Services.AddSingleton<TunnelTraffic>();
        builder.Services.AddHostedService<DeviceTraffic>();
        builder.Services.AddSingleton<FailureDelay>();
        builder.Services.AddSingleton<DeviceCertificates>();
        builder.Services.AddHostedService(static provider => provider.GetRequiredService<DeviceCertificates>());
        builder.Services.AddSingleton<TunnelBudget>();
        builder.Services.AddSingleton<TunnelEndpoint>();
    }

    /// <summary>Devices dial <c>https://tunnel.&lt;base&gt;/v1/devices/&lt;uuid&gt;/tunnel</c>.</summary>
    public static void MapTunnels(this WebApplication app)
    {
        var endpoint = app.Services.GetRequiredService<TunnelEndpoint>();
        var hosts = app.Services.GetRequiredService<HostNames>();
        var metrics = app.Services.GetRequiredService<GatewayMetrics>();
        var registry = app.Services.GetRequiredService<TunnelRegistry>();
        var traffic = app.Services.GetRequiredService<TunnelTraffic>();
        var node = app.Services.GetRequiredService<INode>();
        metrics.ObserveDevices(() => registry.Devices);
        metrics.ObserveDraining(() => node.IsDraining);
        metrics.ObserveTraffic(() => (traffic.Received, traffic.Sent));
        app.Use(next => context =>
        {
            if (!hosts.IsTunnel(context.Request.Host.Value))
            {
                return next(context);
            }

            var path = context.Request.Path.Value.AsSpan();
            const string prefix = "/v1/devices/";
            const string suffix = "/tunnel";
            return path.StartsWith(prefix) && path.EndsWith(suffix) && path.Length > prefix.Length + suffix.Length
                ? endpoint.AcceptAsync(context, path[prefix.Length..^suffix.Length].ToString())
                : TunnelRefusal.WriteAsync(context, StatusCodes.Status404NotFound, "Devices dial /v1/devices/<uuid>/tunnel here; there is nothing else.");
        });
    }
}
