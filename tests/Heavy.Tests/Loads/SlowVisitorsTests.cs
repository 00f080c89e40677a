using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>Ten thousand visitors of one device, all of them slow; those of other devices are served as before.</summary>
[Collection(nameof(Alone))]
public sealed class SlowVisitorsTests(ITestOutputHelper output)
{
    private const int Slow = 10_000;
    private const int Rate = 200;

    private static readonly TimeSpan Measured = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Ten_thousand_slow_visitors_of_one_device_take_nothing_from_those_of_others()
    {
        await using var redis = await RedisServer.StartAsync();

        // All of them get in: a tenth of them would with the device's default budget, and the others would be refused at once.
        await using var cluster = await LoadCluster.StartAsync(1, redis.ConnectionString, "Limits:ExemptLoopback=false", "Limits:Device:Requests=20000");
        var node = cluster.Nodes[0];
        var devices = await node.AddDevicesAsync(2);
        await using var fleet = await cluster.StartFleetAsync(devices, connections: 1);
        await using var visitors = new Visitors(() => new IPEndPoint(IPAddress.Loopback, node.Port), [devices[1]], Rate, connections: 16);
        await Task.Delay(Measured); // warm
        var idle = visitors.Elapsed;
        await Task.Delay(Measured);
        var (cpu, memory) = (GatewayProcess.CpuTime(node.Process), GatewayProcess.Memory(node.Process));
        var coming = visitors.Elapsed;
        await using var slow = await SlowVisitors.ComeAsync(node.Port, devices[0].Host, Slow);
        using var admin = new HttpClient();
        await Eventually.TrueAsync(
            async () => InFlight(await admin.GetStringAsync(new Uri($"http://127.0.0.1:{node.AdminPort}/metrics"))) >= Slow, "all of them are in flight");

        var there = visitors.Elapsed;
        var before = GatewayProcess.CpuTime(node.Process);
        await Task.Delay(Measured);
        var during = GatewayProcess.CpuTime(node.Process) - before;
        var gone = visitors.Elapsed;
        var samples = await visitors.StopAsync();

        output.WriteLine($"{Slow:N0} slow visitors of one device from {SlowVisitors.Addresses} addresses: half of them send a byte in {SlowVisitors.Pause.TotalSeconds:0} s, half wait for an answer; others' visitors ask {Rate} times a second");
        output.WriteLine(Samples.Head);
        output.WriteLine(Samples.Row("nobody else", samples.Where(sample => sample.At > idle && sample.At < coming)));
        output.WriteLine(Samples.Row("they come", samples.Where(sample => sample.At >= coming && sample.At < there)));
        output.WriteLine(Samples.Row("they are there", samples.Where(sample => sample.At >= there && sample.At < gone)));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"memory {memory / 1048576.0:0} MB before, {GatewayProcess.Memory(node.Process) / 1048576.0:0} MB with them ({(GatewayProcess.Memory(node.Process) - memory) / 1024.0 / Slow:0.0} KB each); processor {during / Measured:P0} of one"));
        Assert.DoesNotContain(samples, static sample => sample.Failure is not null);
        Assert.Equal(0, slow.Ended);
        Assert.Equal((2, 2), fleet.Up);
    }

    // Requests of visitors; open streams among them.
    private static long InFlight(string metrics) => metrics.Split('\n')
        .Where(static line => line.StartsWith("gateway_requests_active", StringComparison.Ordinal) && line.Contains("kind=\"http\"", StringComparison.Ordinal))
        .Sum(static line => (long)double.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture));
}

/// <summary>Visitors who say a byte now and then, and others who wait.</summary>
internal sealed class SlowVisitors : IAsyncDisposable
{
    public const int Addresses = 100;

    public static readonly TimeSpan Pause = TimeSpan.FromSeconds(10);

    private static readonly byte[] One = "1\r\nx\r\n"u8.ToArray();

    private readonly CancellationTokenSource _stop = new();
    private readonly List<Socket> _sockets;
    private readonly Task _saying;

    private SlowVisitors(List<Socket> sockets)
    {
        _sockets = sockets;
        _saying = Task.Run(SayAsync);
    }

    /// <summary>How many have got an answer, or an end.</summary>
    public int Ended => _sockets.Count(static socket => socket.Poll(0, SelectMode.SelectRead));

    public static async Task<SlowVisitors> ComeAsync(int port, string host, int count)
    {
        var sockets = new List<Socket>(count);
        for (var i = 0; i < count; i++)
        {
            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            socket.Bind(new IPEndPoint(IPAddress.Parse(string.Create(CultureInfo.InvariantCulture, $"127.0.88.{1 + (i % Addresses)}")), 0));
            await socket.ConnectAsync(IPAddress.Loopback, port);
            await socket.SendAsync(Encoding.ASCII.GetBytes(i % 2 == 0
                ? $"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
                : $"GET /?ms=3600000 HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            sockets.Add(socket);
            if (i % 20 == 0)
            {
                await Task.Delay(20); // a thousand in a second at the most
            }
        }

        return new SlowVisitors(sockets);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _saying;
        _sockets.ForEach(static socket => socket.Dispose());
        _stop.Dispose();
    }

    // In turn, a tenth of a second's part at a time.
    private async Task SayAsync()
    {
        var parts = _sockets.Where(static (_, i) => i % 2 == 0).Chunk(_sockets.Count / 2 / 100).ToList();
        for (var i = 0; !_stop.IsCancellationRequested; i++)
        {
            foreach (var socket in parts[i % parts.Count])
            {
                try
                {
                    await socket.SendAsync(One);
                }
                catch (SocketException)
                {
                    // It has ended; that is counted.
                }
            }

            await Task.Delay(Pause / parts.Count, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
