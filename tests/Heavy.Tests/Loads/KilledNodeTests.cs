using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A node dies without a word (SIGKILL) while visitors are at it and at the others.</summary>
[Collection(nameof(Alone))]
public sealed class KilledNodeTests(ITestOutputHelper output)
{
    private const int Devices = 300;
    private const int Rate = 800;

    [Theory]
    [InlineData(2)]
    [InlineData(1)]
    public async Task Visitors_of_the_other_nodes_lose_no_safe_request(int connections)
    {
        await using var redis = await RedisServer.StartAsync();
        await using var cluster = await LoadCluster.StartAsync(3, redis.ConnectionString);
        var devices = await cluster.Nodes[0].AddDevicesAsync(Devices);
        await using var fleet = await cluster.StartFleetAsync(devices, connections);

        // Visitors who keep to one of the two that live, and visitors whose connections a balancer leads to all three.
        var living = 0;
        await using var others = new Visitors(
            () => new IPEndPoint(IPAddress.Loopback, cluster.Nodes[1 + (Interlocked.Increment(ref living) % 2)].Port), devices, Rate / 2);
        await using var all = new Visitors(() => new IPEndPoint(IPAddress.Loopback, cluster.VisitorPort), devices, Rate / 2);
        await others.SendAsync(Rate * 5);
        var (othersKilled, allKilled) = (others.Elapsed, all.Elapsed);
        cluster.Nodes[0].Process.Kill();
        var tunnels = fleet.Up.Tunnels;
        await others.SendAsync(others.Sent + (Rate * 10));
        var (ofOthers, ofAll) = (await others.StopAsync(), await all.StopAsync());

        output.WriteLine($"{connections} tunnel(s) a device, {tunnels} in all when node-0 was killed");
        output.WriteLine(Samples.Head);
        foreach (var (who, samples, killed) in new[] { ("visitors of other nodes", ofOthers, othersKilled), ("visitors behind HAProxy", ofAll, allKilled) })
        {
            output.WriteLine(Samples.Row($"{who}, before", samples.Where(sample => sample.At + sample.Took < killed)));
            output.WriteLine(Samples.Row($"{who}, first 10 s after", samples.Where(sample => sample.At + sample.Took >= killed && sample.At < killed + TimeSpan.FromSeconds(10))));
            output.WriteLine(Samples.Row($"{who}, later", samples.Where(sample => sample.At >= killed + TimeSpan.FromSeconds(10))));
            output.WriteLine(Samples.Failures(samples));
        }

        // A request waits for its device's return: the device answers again when the last of those ends that were sent at that time and took long, or failed.
        var affected = ofOthers.Where(sample => !sample.IsSlow && sample.At + sample.Took >= othersKilled && sample.At < othersKilled + TimeSpan.FromSeconds(5)
                && (sample.Failure is not null || sample.Took > TimeSpan.FromSeconds(1)))
            .GroupBy(static sample => sample.Device).Select(device => device.Max(static sample => sample.At + sample.Took) - othersKilled).Order().ToList();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"devices that a visitor of another node waited for over 1 s, or failed at: {affected.Count} of {Devices}; the last answers again after {(affected.Count == 0 ? 0 : affected[^1].TotalSeconds):0.0} s"));
        output.WriteLine($"executed twice: {fleet.Repeats}");
        Assert.DoesNotContain(ofOthers, static sample => sample is { IsSafe: true, Failure: not null });
        Assert.Equal(0, fleet.Repeats);

        // What was under way on a visitor's own connection to the dead node is lost with it; nothing else is.
        Assert.DoesNotContain(ofAll, sample => sample is { IsSafe: true, Failure: not null } && !sample.Failure.StartsWith("connection lost", StringComparison.Ordinal));
    }
}
