using Gateway.Admin;
using Gateway.Admin.CommandLine;
using Gateway.Certificates;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Edge;
using Gateway.Limits;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Telemetry;
using Gateway.Tunnels;
using Shared;

namespace Gateway;

internal static class Program
{
    public static Task<int> Main(string[] args) => GatewayCommand.RunAsync(args);

    /// <summary>The gateway, room by room.</summary>
    public static WebApplication Build(WebApplicationBuilder builder)
    {
        builder.AddTelemetry();
        builder.AddLimits();         // what visitors, devices and this node may have
        builder.AddStorage();        // Redis, or the embedded server
        builder.AddDevices();
        builder.AddTunnels();
        builder.AddCluster();
        builder.AddCertificates();
        builder.AddEdge();
        builder.AddAdmin();
        builder.AddListeners();
        builder.Services.AddHostedService<ServiceManager>(); // systemd: ready, stopping, alive

        var app = builder.Build();
        app.AnnounceListeners();
        app.UseVisitObserver();      // spans and the access log, for whoever asked
        app.UseStrictness();         // what is ambiguous goes no further
        app.UseSlowContents();       // streams may be quiet
        app.UseAudiences(
            nodes: static inner => inner.MapHops(),
            operators: static admin =>
            {
                admin.MapMetrics();  // Prometheus
                admin.MapHealth();   // orchestrators
                admin.MapAdmin();    // the API, the dashboard, balena's tools
            });
        app.MapSelfService();        // devices, about themselves
        app.MapCertificates();       // ACME servers
        app.MapTunnels();            // devices
        app.MapEdge();               // everyone else
        return app;
    }
}
