using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A fault every minute, for as long as one likes: nothing grows.</summary>
[Collection(nameof(Alone))]
public sealed class SoakTests(ITestOutputHelper output)
{
    private const int Devices = 100;
    private const int Rate = 200;

    /// <summary>Descriptors that come and go: connections of visitors, of health checks, of the runtime.</summary>
    private const int Slack = 60;

    private static readonly int Minutes = int.TryParse(Environment.GetEnvironmentVariable("GATEWAY_TEST_SOAK_MINUTES"), CultureInfo.InvariantCulture, out var minutes) ? minutes : 10;

    [Fact]
    public async Task Memory_sockets_and_tunnels_are_flat_after_a_fault_every_minute()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var cluster = await LoadCluster.StartAsync(3, redis.ConnectionString);
        var devices = await cluster.Nodes[0].AddDevicesAsync(Devices);
        await using var fleet = await cluster.StartFleetAsync(devices, connections: 2);

        // The first node is never restarted: what grows, grows there.
        var witness = cluster.Nodes[0].Process;
        (string Name, Func<Task> Happen)[] faults =
        [
            ("node-1 killed and started", async () =>
            {
                cluster.Nodes[1].Process.Kill();
                await cluster.StartAgainAsync(cluster.Nodes[1]);
            }),
            ("Redis killed and started after 5 s", async () =>
            {
                redis.Kill();
                await Task.Delay(TimeSpan.FromSeconds(5));
                await redis.RestartAsync();
            }),
            ("node-2 restarted (SIGTERM)", () => cluster.RollAsync(cluster.Nodes[2])),
            ("FLUSHALL", redis.FlushAsync),
        ];
        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, cluster.VisitorPort), devices, Rate, connections: 24);
        await Task.Delay(TimeSpan.FromSeconds(30));
        var (memory, descriptors) = (GatewayProcess.Memory(witness), GatewayProcess.Descriptors(witness));
        var from = TimeSpan.Zero;
        List<(string Name, TimeSpan From, long Memory, int Descriptors, int Tunnels)> minutes = [("warm", from, memory, descriptors, fleet.Up.Tunnels)];
        for (var minute = 0; minute < Minutes; minute++)
        {
            var (name, happen) = faults[minute % faults.Length];
            from = visitors.Elapsed;
            await happen();
            var left = TimeSpan.FromMinutes(1) - (visitors.Elapsed - from);
            await Task.Delay(left > TimeSpan.Zero ? left : TimeSpan.Zero);
            minutes.Add((name, from, GatewayProcess.Memory(witness), GatewayProcess.Descriptors(witness), fleet.Up.Tunnels));
        }

        await fleet.AreUpAsync(Devices * 2, TimeSpan.FromMinutes(1));
        var samples = await visitors.StopAsync();
        output.WriteLine("| minute | fault | requests | failed | p99 | memory of node-0 | descriptors of node-0 | tunnels |\n|---|---|---|---|---|---|---|---|");
        for (var i = 0; i < minutes.Count; i++)
        {
            var (name, begin, rss, open, tunnels) = minutes[i];
            var end = i + 1 < minutes.Count ? minutes[i + 1].From : TimeSpan.MaxValue;
            var cells = Samples.Row(name, samples.Where(sample => sample.At >= begin && sample.At < end)).Split('|', StringSplitOptions.TrimEntries);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {i} | {name} | {cells[2]} | {cells[3]} | {cells[5]} | {rss / 1048576} MB | {open} | {tunnels} |"));
        }

        output.WriteLine(Samples.Failures(samples));
        Assert.Equal(Devices * 2, fleet.Up.Tunnels);
        Assert.InRange(GatewayProcess.Descriptors(witness), 1, descriptors + Slack);
        Assert.Equal(0, fleet.Repeats);

        // Only what was under way on a visitor's own connection to a node that was killed may be lost.
        Assert.DoesNotContain(samples, static sample => sample is { IsSafe: true, Failure: not null } && !sample.Failure.StartsWith("connection lost", StringComparison.Ordinal));
    }
}
