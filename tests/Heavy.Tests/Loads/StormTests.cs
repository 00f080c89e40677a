using System.Diagnostics;
using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;
using StackExchange.Redis;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>
/// Ten thousand devices dial one node, as after an outage of their provider: a thousand a second, five times what it takes, and all in one
/// moment, which makes one process that is all of them seconds late with each one's part of the handshake.
/// </summary>
[Collection(nameof(Alone))]
public sealed class StormTests(ITestOutputHelper output)
{
    private const int Storm = 10_000;
    private const int Others = 50;
    private const int Rate = 200;

    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(10);

    [Theory]
    [InlineData(1000)]
    [InlineData(null)]
    public async Task Ten_thousand_devices_come_back_at_once_and_visitors_of_others_are_served(int? perSecond)
    {
        await using var redis = await RedisServer.StartAsync();
        await using var cluster = await LoadCluster.StartAsync(1, redis.ConnectionString);
        var node = cluster.Nodes[0];
        var devices = await node.AddDevicesAsync(Others + Storm);
        var (others, storm) = (devices.Take(Others).ToList(), devices.Skip(Others).ToList());
        await using var connection = await ConnectionMultiplexer.ConnectAsync($"{redis.ConnectionString},allowAdmin=true");
        async Task<long> OperationsAsync() => long.Parse(
            (await connection.GetServers()[0].InfoRawAsync("stats"))!.Split('\n').First(static line => line.StartsWith("total_commands_processed:", StringComparison.Ordinal)).Split(':')[1], CultureInfo.InvariantCulture);
        await using var fleet = await cluster.StartFleetAsync(others, connections: 1, port: cluster.HttpsPortOf(node));
        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, node.Port), others, Rate, connections: 16);
        await Task.Delay(Quiet); // warm
        var idle = visitors.Elapsed;
        await Task.Delay(Quiet);

        var (operations, cpu, began) = (await OperationsAsync(), GatewayProcess.CpuTime(node.Process), visitors.Elapsed);
        await using var coming = await cluster.LaunchFleetAsync(storm, connections: 1, port: cluster.HttpsPortOf(node), perSecond, isIdle: true);
        await coming.Process.WaitForOutputAsync("dialling");
        var dialled = Stopwatch.GetTimestamp();
        await coming.AreUpAsync(Storm, TimeSpan.FromMinutes(4));
        var took = Stopwatch.GetElapsedTime(dialled);
        var ended = visitors.Elapsed;
        (operations, cpu) = (await OperationsAsync() - operations, GatewayProcess.CpuTime(node.Process) - cpu);
        var peak = GatewayProcess.PeakMemory(node.Process);
        await Task.Delay(Quiet);
        var samples = await visitors.StopAsync();

        // Each of them can be reached, the last one too.
        using var visitor = new Visitor(() => new IPEndPoint(IPAddress.Loopback, node.Port));
        foreach (var device in storm)
        {
            Assert.Equal(device.Uuid.ToString(), (await visitor.AskAsync("GET", device.Host, "/", $"{device.Uuid}", CancellationToken.None)).Body);
        }

        var how = perSecond is { } pace ? string.Create(CultureInfo.InvariantCulture, $"{pace:N0} a second") : "all in one moment";
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{Storm:N0} devices dialled over TLS, {how}: the last was up after {took.TotalSeconds:0.0} s; {cpu.TotalSeconds:0.0} s of processor time, peak memory {peak / 1048576} MB, {operations:N0} operations of Redis ({(double)operations / Storm:0.0} a device)"));
        output.WriteLine(Samples.Head);
        output.WriteLine(Samples.Row("visitors of other devices, before", samples.Where(sample => sample.At >= idle && sample.At < began)));
        output.WriteLine(Samples.Row("meanwhile", samples.Where(sample => sample.At >= began && sample.At < ended)));
        output.WriteLine(Samples.Row("after", samples.Where(sample => sample.At >= ended)));
        output.WriteLine(Samples.Failures(samples));
        Assert.DoesNotContain(samples, static sample => sample.Failure is not null);
    }
}
