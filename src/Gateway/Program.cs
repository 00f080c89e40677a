using Gateway.Admin;
using Gateway.Admin.CommandLine;
using Gateway.Certificates;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Edge;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Telemetry;
using Gateway.Tunnels;

namespace Gateway;

internal static class Program
{
    public static Task<int> Main(string[] args) => GatewayCommand.RunAsync(args);

    /// <summary>The gateway, room by room.</summary>
    public static WebApplication Build(WebApplicationBuilder builder)
    {
        builder.AddTelemetry();
        builder.AddStorage();        // Redis, or the embedded server
        builder.AddDevices();
        builder.AddTunnels();
        builder.AddCluster();
        builder.AddCertificates();
        builder.AddEdge();
        builder.AddListeners();

        var app = builder.Build();
        app.AnnounceListeners();
        app.UseStrictness();         // what is ambiguous goes no further
        app.MapHops();               // other nodes
        app.MapHealth();             // operators and orchestrators
        app.MapCertificates();       // ACME servers
        app.MapTunnels();            // devices
        app.MapEdge();               // everyone else
        return app;
    }
}
