using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>Gives any ASP.NET Core application on a device its public URL, without an agent.</summary>
public static class DeviceTunnelExtensions
{
    /// <summary>
    /// Lets Kestrel serve this application through a tunnel to the gateway, beside the addresses it listens on.
    /// Requests arrive as HTTP/2 with the public <c>Host</c>; <c>X-Forwarded-*</c> and <c>Forwarded</c> name the visitor.
    /// </summary>
    /// <remarks>
    /// Sets those of Kestrel's limits that would end a quiet tunnel or refuse what the gateway has already accepted:
    /// no keep-alive timeout, no data rates, no body limit, heads of up to 128 KiB.
    /// </remarks>
    /// <exception cref="OptionsValidationException">When the application is built, if a setting is missing or wrong; the message names it.</exception>
    public static IWebHostBuilder UseDeviceTunnel(this IWebHostBuilder builder, Action<DeviceTunnelOptions> configure) =>
        builder.ConfigureServices(services =>
        {
            services.AddOptions<DeviceTunnelOptions>()
                .Configure(configure)
                .ValidateOnStart();
            services.TryAddSingleton(TimeProvider.System);
            services.AddSingleton<IValidateOptions<DeviceTunnelOptions>, DeviceTunnelOptionsValidator>();
            services.AddSingleton<IConnectionListenerFactory, DeviceTunnelTransport>();
            services.AddSingleton<IConfigureOptions<KestrelServerOptions>, ConfigureKestrelForTunnel>();
            services.AddSingleton<IStartupFilter, ControlRequests>();
        });
}

internal sealed class DeviceTunnelOptionsValidator : IValidateOptions<DeviceTunnelOptions>
{
    public ValidateOptionsResult Validate(string? name, DeviceTunnelOptions options) =>
        options.Validate() is { } error ? ValidateOptionsResult.Fail(error) : ValidateOptionsResult.Success;
}

internal sealed class ConfigureKestrelForTunnel(IOptions<DeviceTunnelOptions> tunnel) : IConfigureOptions<KestrelServerOptions>
{
    public void Configure(KestrelServerOptions options)
    {
        var limits = options.Limits;
        limits.KeepAliveTimeout = TimeSpan.FromDays(3650); // Kestrel adds it to a clock: "infinite" overflows and ends the tunnel at once
        limits.MinRequestBodyDataRate = null;
        limits.MinResponseDataRate = null;
        limits.MaxRequestBodySize = null;
        limits.MaxRequestHeadersTotalSize = 128 * 1024;
        limits.MaxRequestHeaderCount = 1000;
        limits.Http2.MaxRequestHeaderFieldSize = 96 * 1024;
        limits.Http2.MaxStreamsPerConnection = 1000;

        // The server gives half a window back at a time, so that an upload has at most half a window a round trip: 20 MB/s at 100 ms.
        limits.Http2.InitialStreamWindowSize = 4 * 1024 * 1024;
        limits.Http2.InitialConnectionWindowSize = 16 * 1024 * 1024;

        // Field values are bytes: Latin-1 maps each to itself (RFC 9110 section 5.5).
        options.RequestHeaderEncodingSelector = static _ => Encoding.Latin1;
        options.ResponseHeaderEncodingSelector = static _ => Encoding.Latin1;

        options.Listen(new DeviceTunnelEndPoint(tunnel.Value.Gateway!), static listen => listen.Protocols = HttpProtocols.Http2);
    }
}

/// <summary>
/// Answers what the gateway asks of the agent itself (docs/protocol.md, "Control requests"); a request that came another
/// way, or for another authority, goes on to the application.
/// </summary>
internal sealed class ControlRequests(IOptions<DeviceTunnelOptions> options) : IStartupFilter
{
    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use(inner => context => IsControl(context) ? AnswerAsync(context) : inner(context));
        next(app);
    };

    private static bool IsControl(HttpContext context) =>
        context.Request.Host.Value == TunnelProtocol.ControlAuthority && context.Features.Get<DeviceTunnelFeature>() is not null;

    private Task AnswerAsync(HttpContext context)
    {
        var request = context.Request;
        if (request.Path == TunnelProtocol.DrainPath && HttpMethods.IsPost(request.Method))
        {
            context.Features.GetRequiredFeature<DeviceTunnelFeature>().Drain();
            context.Response.StatusCode = StatusCodes.Status202Accepted;
            return Task.CompletedTask;
        }

        if (request.Path != "/info")
        {
            context.Response.StatusCode = StatusCodes.Status404NotFound;
            return Task.CompletedTask;
        }

        context.Response.ContentType = "application/json";
        return context.Response.WriteAsync($$"""{"agent":"{{options.Value.UserAgent}}"}""");
    }
}
