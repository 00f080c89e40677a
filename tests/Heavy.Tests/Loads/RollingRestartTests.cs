using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A new version on every node, one after the other, while visitors are there.</summary>
[Collection(nameof(Alone))]
public sealed class RollingRestartTests(ITestOutputHelper output)
{
    private const int Devices = 300;
    private const int Requests = 100_000;
    private const int Rate = 900;

    [Fact]
    public async Task No_request_fails_while_every_node_is_restarted()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var cluster = await LoadCluster.StartAsync(3, redis.ConnectionString);
        var devices = await cluster.Nodes[0].AddDevicesAsync(Devices);
        await using var fleet = await cluster.StartFleetAsync(devices, connections: 2);
        await using var sockets = new OpenSockets(cluster.VisitorPort, devices.Take(60));
        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, cluster.VisitorPort), devices, Rate);
        await Eventually.TrueAsync(() => sockets.Open == 60, "the WebSockets are open");

        await visitors.SendAsync(Requests / 5);
        var began = visitors.Elapsed;
        foreach (var node in cluster.Nodes)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{visitors.Elapsed.TotalSeconds:0.0} s: SIGTERM"));
            await cluster.RollAsync(node);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{visitors.Elapsed.TotalSeconds:0.0} s: back"));
            await Task.Delay(TimeSpan.FromSeconds(2));
        }

        var ended = visitors.Elapsed;
        await visitors.SendAsync(Math.Max(Requests, visitors.Sent + (Requests / 10)));
        var samples = await visitors.StopAsync();

        output.WriteLine(Samples.Head);
        output.WriteLine(Samples.Row("before", samples.Where(sample => sample.At < began)));
        output.WriteLine(Samples.Row("during", samples.Where(sample => sample.At >= began && sample.At < ended)));
        output.WriteLine(Samples.Row("after", samples.Where(sample => sample.At >= ended)));
        output.WriteLine(Samples.Failures(samples));
        output.WriteLine($"WebSockets: {sockets.Open} open, {sockets.Echoes} messages, ends: {string.Join(", ", sockets.Ends.Select(static end => $"{end.Value} x {end.Key}"))}");
        output.WriteLine($"executed twice: {fleet.Repeats}");
        Assert.DoesNotContain(samples, static sample => sample.Failure is not null);
        Assert.True(samples.Count >= Requests);
        Assert.Equal(0, sockets.Improper);
        Assert.NotEmpty(sockets.Ends);
        Assert.Equal(0, fleet.Repeats);
    }
}
