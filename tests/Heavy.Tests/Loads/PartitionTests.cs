using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A cable is cut, and nobody is told: between two nodes, between a node and Redis, between devices and a node.</summary>
[Collection(nameof(Alone))]
public sealed class PartitionTests(ITestOutputHelper output)
{
    private const int Nodes = 3;
    private const int Redis = Nodes; // the host after them
    private const int Devices = 90;
    private const int Rate = 300;

    private static readonly TimeSpan Before = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Cut = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan After = TimeSpan.FromSeconds(10);

    [Theory]
    [InlineData("two nodes")]
    [InlineData("a node and Redis")]
    [InlineData("devices and a node")]
    public async Task No_safe_request_fails_when_the_network_is_cut_between(string what)
    {
        await using var network = await LoadNetwork.CreateAsync(Nodes + 1);
        await using var redis = ChildProcess.Start([.. network[Redis].Enter, "redis-server", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--appendonly", "no"]);
        await redis.WaitForOutputAsync("Ready to accept connections");
        await using var cluster = await LoadCluster.StartAsync(Nodes, network, $"{network.AddressOf(Redis)}:6379");
        var devices = await cluster.Nodes[0].AddDevicesAsync(Devices);
        await using var fleet = await cluster.StartFleetAsync(devices, connections: 2);
        var next = 0;
        await using var visitors = new Visitors(() => cluster.VisitorEndPointOf(Interlocked.Increment(ref next) % Nodes), devices, Rate, connections: 60);

        await Task.Delay(Before);
        var cut = visitors.Elapsed;
        await (what switch
        {
            "two nodes" => network.CutAsync(0, 1),
            "a node and Redis" => network.CutAsync(0, Redis),
            _ => network.CutPortAsync(0, LoadCluster.InnerHttpsPort),
        });
        await Task.Delay(Cut);
        var mended = visitors.Elapsed;
        await network.MendAsync(0);
        await Task.Delay(After);
        var samples = await visitors.StopAsync();

        output.WriteLine($"cut between {what}");
        output.WriteLine(Samples.Head);
        output.WriteLine(Samples.Row("before", samples.Where(sample => sample.At < cut)));
        output.WriteLine(Samples.Row("cut", samples.Where(sample => sample.At >= cut && sample.At < mended)));
        output.WriteLine(Samples.Row("mended", samples.Where(sample => sample.At >= mended)));
        output.WriteLine(Samples.Failures(samples));
        output.WriteLine("\n| second | answered by the device | failed | p50 | longest |\n|---|---|---|---|---|");
        foreach (var second in samples.GroupBy(sample => (int)Math.Floor((sample.At - cut).TotalSeconds)).OrderBy(static second => second.Key))
        {
            var took = second.Select(static sample => sample.Took.TotalMilliseconds).Order().ToList();
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {second.Key} | {second.Count(static sample => sample.Failure is null)} | {second.Count(static sample => sample.Failure is not null)} | {Samples.Quantile(took, 0.5):0} ms | {took[^1]:0} ms |"));
        }

        Assert.DoesNotContain(samples, static sample => sample is { IsSafe: true, Failure: not null });
        Assert.DoesNotContain(samples, sample => sample.Failure is not null && (sample.At < cut || sample.At > mended + TimeSpan.FromSeconds(5)));
        Assert.Equal(0, fleet.Repeats);
    }
}
