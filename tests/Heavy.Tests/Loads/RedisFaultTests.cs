using System.Diagnostics;
using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;
using StackExchange.Redis;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>Redis is away for a minute, fails over, and is emptied; the devices' visitors must not notice.</summary>
[Collection(nameof(Alone))]
public sealed class RedisFaultTests(ITestOutputHelper output)
{
    private const int Devices = 300;
    private const int Rate = 500;

    private static readonly TimeSpan Outage = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task No_request_fails_while_Redis_is_away_fails_over_and_is_emptied()
    {
        await using var sentinel = await SentinelRedis.StartAsync();
        await using var cluster = await LoadCluster.StartAsync(3, sentinel.ConnectionString);
        var devices = await cluster.Nodes[0].AddDevicesAsync(Devices + 20);
        var (connected, late) = (devices.Take(Devices).ToList(), devices.Skip(Devices).ToList());
        await using var fleet = await cluster.StartFleetAsync(connected, connections: 2);

        // The late ones have been here: their keys are known to the nodes that they dial.
        await using (await cluster.StartFleetAsync(late, connections: 2))
        {
        }

        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, cluster.VisitorPort), connected, Rate);
        var phases = new List<(string Name, TimeSpan From)> { ("before", TimeSpan.Zero) };
        void Begin(string name) => phases.Add((name, visitors.Elapsed));
        await Task.Delay(Quiet);

        Begin($"every Redis killed for {Outage.TotalSeconds} s");
        sentinel.KillAll();
        await using var returning = await cluster.LaunchFleetAsync(late, connections: 2);
        await Task.Delay(Outage);
        output.WriteLine($"devices that had been here and came back while Redis was away: {returning.Up.Devices} of {late.Count}");

        Begin("Redis is back");
        await sentinel.RestartAllAsync();
        await Task.Delay(Quiet);

        Begin("the master is killed");
        var killedAt = Stopwatch.GetTimestamp();
        var old = await sentinel.MasterAsync();
        sentinel.Kill(old);
        await sentinel.FailedOverAsync(from: old);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Sentinel has promoted the other one after {Stopwatch.GetElapsedTime(killedAt).TotalSeconds:0.0} s"));
        await Task.Delay(Quiet);

        Begin("FLUSHALL");
        var flushedAt = Stopwatch.GetTimestamp();
        var master = await sentinel.MasterAsync();
        await using var redis = await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{master},allowAdmin=true");
        await redis.GetDatabase().ExecuteAsync("FLUSHALL");
        var database = redis.GetDatabase();
        await Eventually.TrueAsync(
            async () => (await Task.WhenAll(connected.Select(async device =>
                await database.KeyExistsAsync($"device:{{{device.Uuid}}}") && await database.HashLengthAsync($"route:{{{device.Uuid}}}") == 2))).All(static whole => whole),
            "the records and routes of all connected devices are in Redis again");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"records and routes of all connected devices written again after {Stopwatch.GetElapsedTime(flushedAt).TotalSeconds:0.0} s"));
        await Task.Delay(Quiet);

        // What is healed lasts: a device that loses its tunnels is let in again.
        Begin("devices dial again");
        await returning.DisposeAsync();
        await using var again = await cluster.StartFleetAsync(late, connections: 2);
        await Task.Delay(TimeSpan.FromSeconds(5));
        var samples = await visitors.StopAsync();

        output.WriteLine(Samples.Head);
        for (var i = 0; i < phases.Count; i++)
        {
            var (name, from) = phases[i];
            var until = i + 1 < phases.Count ? phases[i + 1].From : TimeSpan.MaxValue;
            output.WriteLine(Samples.Row(name, samples.Where(sample => sample.At >= from && sample.At < until)));
        }

        output.WriteLine(Samples.Failures(samples));
        output.WriteLine($"executed twice: {fleet.Repeats}; tunnels up: {fleet.Up.Tunnels} of {Devices * 2}");
        Assert.DoesNotContain(samples, static sample => sample.Failure is not null);
        Assert.Equal(Devices * 2, fleet.Up.Tunnels);
        Assert.Equal(0, fleet.Repeats);
    }
}
