using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;
using Shared;
using Tunnel.Protocol.DeviceSide;

namespace Tunnel.Agent;

/// <summary>The agent: a tunnel on one side, the device's application on the other.</summary>
internal static class AgentApplication
{
    /// <summary>Requests in flight may finish for this long after SIGTERM.</summary>
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(5);

    public static WebApplication Build(AgentSettings settings)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddRouting();
        builder.Services.AddSingleton(settings);
        builder.Services.AddHttpForwarder();
        builder.Services.AddSingleton<AppForwarder>();
        builder.Services.Configure<HostOptions>(static options => options.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Logging.AddConsole(static console => console.FormatterName = PlainConsole.FormatterName);
        builder.Services.AddSingleton<ConsoleFormatter, PlainConsole>();
        builder.Logging.AddFilter(static (category, level) => level >= (category switch
        {
            "Microsoft.Hosting.Lifetime" => LogLevel.None,
            "Microsoft.AspNetCore.Hosting.Diagnostics" => LogLevel.None, // or it makes an Activity of every request
            _ when category?.StartsWith("Microsoft", StringComparison.Ordinal) == true => LogLevel.Error,
            _ when category?.StartsWith("Yarp", StringComparison.Ordinal) == true => LogLevel.None,
            _ => LogLevel.Information,
        }));
        builder.AddTracing(settings);
        builder.Services.AddHostedService<ServiceManager>();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(static kestrel => kestrel.AddServerHeader = false);
        ILogger? logger = null;
        builder.WebHost.UseDeviceTunnel(tunnel =>
        {
            tunnel.Gateway = settings.Gateway;
            tunnel.Uuid = settings.Uuid;
            tunnel.Key = settings.Key;
            tunnel.Connections = settings.Connections;
            tunnel.ClientCertificate = settings.ClientCertificate is { } files ? () => files.Current(logger ?? NullLogger.Instance) : null;
            tunnel.TrustedRoots = settings.TrustedRoots;
            tunnel.UserAgent = $"gateway-agent/{Version}";
        });

        var app = builder.Build();
        logger = app.Logger;
        app.Run(app.Services.GetRequiredService<AppForwarder>().ForwardAsync);
        return app;
    }

    public static string Version => typeof(AgentApplication).Assembly.GetName().Version?.ToString(3) ?? "0";
}
