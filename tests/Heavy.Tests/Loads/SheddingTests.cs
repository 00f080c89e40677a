using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A gateway with little memory, and visitors who take it: answers that they do not read.</summary>
[Collection(nameof(Alone))]
public sealed class SheddingTests(ITestOutputHelper output)
{
    private const int Hogs = 20;
    private const int Others = 20;
    private const int Rounds = 3;
    private const int MostVisitors = 4000;

    /// <summary>The runtime's own limit: beyond it an allocation fails, and the process with it.</summary>
    private const long HeapLimit = 300L * 1024 * 1024;

    [Fact]
    public async Task A_gateway_with_little_memory_refuses_what_is_new_recovers_and_keeps_its_tunnels()
    {
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await GatewayProcess.StartWithAsync(
            new() { ["DOTNET_GCHeapHardLimit"] = HeapLimit.ToString("x", CultureInfo.InvariantCulture) }, $"Storage:Redis={redis.ConnectionString}", "Limits:Device:Requests=0", $"Edge:Domains:0={TestGateway.Domain}", "Edge:Domains:1=localhost");
        var devices = await gateway.AddDevicesAsync(Hogs + Others);
        var (hogs, others) = (devices.Take(Hogs).ToList(), devices.Skip(Hogs).ToList());
        await using var fleet = await StartFleetAsync(gateway, devices);
        await fleet.AreUpAsync(devices.Count, TimeSpan.FromMinutes(1));
        var process = gateway.Process.Id;
        using var admin = new HttpClient();
        async Task<bool> ShedsAsync() => (await admin.GetStringAsync(new Uri($"http://127.0.0.1:{gateway.AdminPort}/metrics"))).Split('\n')
            .Any(static line => line.StartsWith("gateway_node_shedding", StringComparison.Ordinal) && line.Split(' ')[1] == "1");

        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, gateway.Port), others, rate: 50, connections: 8);
        await visitors.SendAsync(500); // warm
        List<(TimeSpan Began, int Held, long Resident, TimeSpan Took)> rounds = [];
        while (rounds.Count < Rounds)
        {
            // 1. More and more, until it sheds.
            var began = visitors.Elapsed;
            var held = new List<Socket>();
            while (!await ShedsAsync())
            {
                Assert.True(held.Count < MostVisitors, $"{held.Count} visitors who read nothing, and it does not shed at {GatewayProcess.Memory(gateway.Process) >> 20} MiB.");
                for (var i = 0; i < 10; i++)
                {
                    held.Add(await HoldAsync(gateway, hogs[held.Count % Hogs]));
                }

                await Task.Delay(100);
            }

            var resident = GatewayProcess.Memory(gateway.Process);

            // 2. It refuses what is new for as long as that is so.
            await Eventually.TrueAsync(async () => await AskAsync(gateway, others[0]) is "503" or "closed", "a request is refused");
            await Task.Delay(TimeSpan.FromSeconds(5));
            Assert.False(gateway.Process.HasExited, gateway.Process.Output);

            // 3. It recovers when they leave.
            held.ForEach(static socket => socket.Dispose());
            var left = Stopwatch.GetTimestamp();
            await Eventually.TrueAsync(async () => !await ShedsAsync(), "it sheds no more");
            await Eventually.TrueAsync(async () => await AskAsync(gateway, others[0]) == "200", "a request is served");
            var took = Stopwatch.GetElapsedTime(left);
            await Task.Delay(TimeSpan.FromSeconds(5));
            rounds.Add((began, held.Count, resident, took));
        }

        var samples = await visitors.StopAsync();

        output.WriteLine($"heap limited to {HeapLimit >> 20} MiB; {Hogs} devices whose visitors read nothing, {Others} others with visitors who ask 50 times a second");
        output.WriteLine("| round | visitors when it shed | resident then | others' requests | refused | failed otherwise | served again after |\n|---|---|---|---|---|---|---|");
        for (var i = 0; i < Rounds; i++)
        {
            var (began, held, resident, took) = rounds[i];
            var all = samples.Where(sample => sample.At >= began && (i == Rounds - 1 || sample.At < rounds[i + 1].Began)).ToList();
            var refused = all.Count(IsRefusal);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {i + 1} | {held} | {resident >> 20} MiB | {all.Count} | {refused} | {all.Count(static sample => sample.Failure is not null) - refused} | {took.TotalSeconds:0.0} s |"));
        }

        output.WriteLine(Samples.Failures(samples));

        Assert.DoesNotContain(samples, static sample => sample.Failure is not null && !IsRefusal(sample));

        // The same process, with the same tunnels.
        Assert.Equal(process, gateway.Process.Id);
        Assert.False(gateway.Process.HasExited, gateway.Process.Output);
        Assert.Equal((devices.Count, devices.Count), fleet.Up);
        Assert.DoesNotContain("Tunnel of", string.Join('\n', gateway.Process.Output.Split('\n').Where(static line => line.EndsWith(" down", StringComparison.Ordinal))), StringComparison.Ordinal);
        output.WriteLine($"one process all the time, {fleet.Up.Tunnels} of {devices.Count} tunnels up, none was lost; at most {GatewayProcess.PeakMemory(gateway.Process) >> 20} MiB resident");
    }

    // 503, or closed before a byte while memory is almost at its end.
    private static bool IsRefusal(Sample sample) => sample.Failure is { } failure && (failure.StartsWith("503", StringComparison.Ordinal) || failure.StartsWith("connection lost (fresh", StringComparison.Ordinal));

    private static async Task<Fleet> StartFleetAsync(GatewayProcess gateway, IReadOnlyList<TestDevice> devices)
    {
        var list = Path.GetTempFileName();
        await File.WriteAllLinesAsync(list, devices.Select(static device => $"{device.Uuid} {device.Key}"));
        var process = ChildProcess.Start(["dotnet", Path.Combine(AppContext.BaseDirectory, "fleet.dll"), gateway.TunnelAddress, "-", list, "1"]);
        await process.WaitForOutputAsync("dialling");
        File.Delete(list);
        return new Fleet(process);
    }

    // A visitor with a small window, who asks for a gigabyte and reads nothing of it.
    private static async Task<Socket> HoldAsync(GatewayProcess gateway, TestDevice device)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(IPAddress.Loopback, gateway.Port);
        try
        {
            await socket.SendAsync(Encoding.ASCII.GetBytes($"GET /?mib=1024 HTTP/1.1\r\nHost: {device.Uuid}.localhost\r\n\r\n"));
        }
        catch (SocketException)
        {
            // Closed at once: that is seen.
        }

        return socket;
    }

    // The status, or "closed".
    private static async Task<string> AskAsync(GatewayProcess gateway, TestDevice device)
    {
        using var visitor = new Visitor(() => new IPEndPoint(IPAddress.Loopback, gateway.Port));
        try
        {
            return (await visitor.AskAsync("GET", $"{device.Uuid}.localhost", "/", "", CancellationToken.None)).Status.ToString(CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is SocketException or EndOfStreamException)
        {
            return "closed";
        }
    }
}
