using Gateway.Devices;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;

namespace Gateway.Cluster;

internal static class ClusterRoom
{
    public static void AddCluster(this WebApplicationBuilder builder)
    {
        builder.AddClusterView();
        var services = builder.Services;
        services.AddSingleton<INode>(static provider => provider.GetRequiredService<Nodes>());
        services.AddSingleton<RouteWriter>();
        services.AddSingleton<Router>();
        services.AddSingleton<NodeClients>();
        services.AddSingleton<INeighbours, Neighbours>();
        services.AddHostedService(static provider => provider.GetRequiredService<Nodes>());
        services.AddHostedService(static provider => provider.GetRequiredService<RouteWriter>());
    }

    /// <summary>Sees the nodes and what is on them, without being one: for the command line.</summary>
    public static void AddClusterView(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddOptions<ClusterOptions>().BindConfiguration(ClusterOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<ClusterOptions>, ClusterOptions.Validator>();
        services.AddSingleton<NodeIdentity>();
        services.AddSingleton<Nodes>();
        services.AddSingleton<OnlineDevices>();
        services.AddHostedService(static provider => provider.GetRequiredService<OnlineDevices>());
        services.AddSingleton<Presence>();
    }
}
