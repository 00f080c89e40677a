using System.CommandLine;
using Gateway.Cluster;
using Gateway.Storage;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway node list|drain|resume</c>: the nodes that share a Redis.</summary>
internal static class NodeCommands
{
    public static Command Create(Action<ParseResult, IConfigurationManager> configure)
    {
        var list = new ExplainedCommand("list", "Lists the nodes that live, and how many devices have a tunnel on each.", "Example: gateway node list");
        list.SetAction((result, _) => StoreVerb.RunAsync(result, configure, static _ => { }, ListAsync));

        var drained = Node();
        var drain = new ExplainedCommand(
            "drain", "Has a node send its devices to other nodes and take no new ones; it goes on running, not ready, until \"node resume\".", "Example: gateway node drain gateway-1") { drained };
        drain.SetAction((result, _) => StoreVerb.RunAsync(result, configure, static _ => { }, services => SwitchAsync(services, result.GetValue(drained)!, true)));

        var resumed = Node();
        var resume = new ExplainedCommand("resume", "Has a drained node take devices again.", "Example: gateway node resume gateway-1") { resumed };
        resume.SetAction((result, _) => StoreVerb.RunAsync(result, configure, static _ => { }, services => SwitchAsync(services, result.GetValue(resumed)!, false)));
        return new Command("node", "Nodes: list, drain, resume.") { list, drain, resume };
    }

    private static Argument<string> Node() => new("node") { Description = "As \"node list\" shows it" };

    private static async Task<int> ListAsync(IServiceProvider services)
    {
        var redis = services.GetRequiredService<RedisConnection>();
        var rows = new List<string[]>();
        foreach (var id in (await redis.Database.SetMembersAsync(Nodes.Ids)).Select(static id => (string)id!).Order(StringComparer.Ordinal))
        {
            if (await FindAsync(redis, id) is { } node)
            {
                var devices = await redis.Database.SetLengthAsync(RouteWriter.OnlineOf(id, node.Epoch));
                rows.Add([id, node.Draining ? "draining" : "serving", $"{devices}", Table.Time(node.Started), node.Address ?? "-"]);
            }
        }

        Table.Print(["NODE", "STATE", "DEVICES", "STARTED", "ADDRESS"], rows);
        return ExitCode.Ok;
    }

    private static async Task<int> SwitchAsync(IServiceProvider services, string id, bool drain)
    {
        var redis = services.GetRequiredService<RedisConnection>();
        if (await FindAsync(redis, id) is not { } node)
        {
            return await StoreVerb.FailAsync($"there is no node {id}: \"gateway node list\" shows those that live.", ExitCode.NotFound);
        }

        if (drain)
        {
            await redis.Database.StringSetAsync(Nodes.DrainKeyOf(id), node.Epoch);
        }
        else
        {
            await redis.Database.KeyDeleteAsync(Nodes.DrainKeyOf(id));
        }

        await redis.Database.PublishAsync(Nodes.Changes, id);
        Console.WriteLine(drain ? $"draining: {id}" : $"resumed: {id}");
        return ExitCode.Ok;
    }

    // Who may read Redis may see the nodes; their signatures are the nodes' own affair.
    private static async Task<NodeRecord?> FindAsync(RedisConnection redis, string id) =>
        (string?)await redis.Database.StringGetAsync(Nodes.KeyOf(id)) is { } json ? NodeRecord.Parse(json, "") : null;
}
