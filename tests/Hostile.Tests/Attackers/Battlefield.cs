using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Agent;

namespace Gateway.Tests.Attackers;

/// <summary>A gateway in a process of its own, a device with an honest visitor, and a device for the attackers' use.</summary>
public sealed class Battlefield : IAsyncLifetime
{
    private readonly List<IAsyncDisposable> _parts = [];

    internal GatewayProcess Gateway { get; private set; } = null!;

    internal int HttpsPort { get; private set; }

    /// <summary>Answers <c>/large</c> without end, reads <c>/upload</c> to its end, and says hello otherwise.</summary>
    internal TestDevice Victim { get; private set; } = null!;

    internal TestDevice Bystander { get; private set; } = null!;

    /// <summary>20 s for each behaviour in the heavy run, else 2 s.</summary>
    internal static TimeSpan Duration { get; } = Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1" ? TimeSpan.FromSeconds(20) : TimeSpan.FromSeconds(2);

    public async ValueTask InitializeAsync()
    {
        HttpsPort = RedisServer.FreePort();
        Gateway = await GatewayProcess.StartAsync(
            null, $"Listen:Https=127.0.0.1:{HttpsPort}", $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}",
            "Limits:ExemptLoopback=false", "Storage:Timeout=00:00:10", "Devices:CacheTtl=00:00:30");
        var app = await TestApp.StartAsync(static async context =>
        {
            if (context.Request.Path == "/large")
            {
                var part = new byte[64 * 1024];
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await context.Response.Body.WriteAsync(part, context.RequestAborted);

                    // Writing to nobody takes no time: fifty of them would leave no thread to tell them.
                    await Task.Delay(1, context.RequestAborted);
                }
            }

            await context.Request.Body.CopyToAsync(Stream.Null, context.RequestAborted);
            await context.Response.WriteAsync("hello");
        });
        _parts.Add(app);
        Victim = await ConnectAsync(app);
        Bystander = await ConnectAsync(app);

        // What is loaded and compiled at first use is no growth.
        await using var honest = new HonestVisitor(this);
        await Eventually.TrueAsync(() => honest.Answers > 300, "the gateway is warm");
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var part in _parts.AsEnumerable().Reverse())
        {
            await part.DisposeAsync();
        }

        await Gateway.DisposeAsync();
    }

    /// <summary>Lets an attacker act while the honest visitor visits the other device.</summary>
    internal async Task<Report> WatchAsync(string name, Func<CancellationToken, Task<Flood>> attack)
    {
        using var time = new CancellationTokenSource(Duration);
        await using var honest = new HonestVisitor(this);
        await Eventually.TrueAsync(() => honest.Answers > 0, "the honest visitor is there");
        var before = Resident();
        var peak = before;
        var attacking = attack(time.Token);
        while (!attacking.IsCompleted || !time.IsCancellationRequested)
        {
            peak = Math.Max(peak, Resident());
            Assert.False(Gateway.Process.HasExited, $"The gateway has ended: {Gateway.Process.Output}");
            await Task.Delay(50, CancellationToken.None);
        }

        await using var flood = await attacking;
        await Eventually.TrueAsync(() => honest.Answers > 0 && honest.IsFresh, "the honest visitor is served afterwards");
        return new Report(name, flood.BytesSent, flood.CutOffAfter, honest.Answers, honest.Failures, honest.Worst, peak - before);
    }

    private long Resident() => 1024 * long.Parse(
        File.ReadLines($"/proc/{Gateway.Process.Id}/status").First(static line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(':')[1].Replace("kB", "", StringComparison.Ordinal).Trim(),
        CultureInfo.InvariantCulture);

    private async Task<TestDevice> ConnectAsync(TestApp app)
    {
        var device = await Gateway.AddDeviceAsync();
        var agent = AgentApplication.Build(new AgentSettings { Gateway = new Uri(Gateway.TunnelAddress), Uuid = device.Uuid, Key = device.Key, Target = app.Url, TargetInsecure = false });
        await agent.StartAsync();
        _parts.Add(agent);
        using var visitor = Gateway.CreateVisitor();
        await Eventually.TrueAsync(
            async () =>
            {
                using var response = await visitor.GetAsync(Gateway.Url(device));
                return response.IsSuccessStatusCode;
            },
            "the device answers");
        return device;
    }
}

/// <summary>What came of an attack.</summary>
internal sealed record Report(string Name, long Bytes, TimeSpan? CutOffAfter, int Answers, IReadOnlyCollection<string> Failures, TimeSpan Worst, long Growth)
{
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"| {Name} | {Bytes / 1048576.0:0.0} MB | {(CutOffAfter is { } after ? $"cut off after {after.TotalSeconds:0.0} s" : "not cut off")} | {Answers} answers, {Failures.Count} failed, worst {Worst.TotalMilliseconds:0} ms | {Growth / 1048576.0:+0;-0} MB |");
}

/// <summary>Visits the bystander's device again and again, and remembers how that went.</summary>
internal sealed class HonestVisitor : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly HttpClient _client;
    private readonly List<string> _failures = [];
    private readonly Task _visiting;
    private int _answers;
    private long _lastAt;

    public HonestVisitor(Battlefield field)
    {
        _client = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            ConnectCallback = async (_, cancellationToken) =>
            {
                var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                socket.Bind(new IPEndPoint(IPAddress.Parse("127.0.0.55"), 0));
                await socket.ConnectAsync(IPAddress.Loopback, field.Gateway.Port, cancellationToken);
                return new NetworkStream(socket, ownsSocket: true);
            },
        });
        _visiting = VisitAsync(new Uri(field.Gateway.Url(field.Bystander)));
    }

    public int Answers => Volatile.Read(ref _answers);

    public TimeSpan Worst { get; private set; }

    public IReadOnlyCollection<string> Failures => _failures;

    /// <summary>Whether the last answer came a moment ago.</summary>
    public bool IsFresh => Stopwatch.GetElapsedTime(Volatile.Read(ref _lastAt)) < TimeSpan.FromSeconds(1);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _visiting;
        _client.Dispose();
        _stop.Dispose();
    }

    private async Task VisitAsync(Uri address)
    {
        while (!_stop.IsCancellationRequested)
        {
            var started = Stopwatch.GetTimestamp();
            try
            {
                using var response = await _client.GetAsync(address, CancellationToken.None);
                if (response.StatusCode != HttpStatusCode.OK)
                {
                    _failures.Add($"{(int)response.StatusCode}");
                }
            }
            catch (HttpRequestException exception)
            {
                _failures.Add(exception.Message);
            }

            var took = Stopwatch.GetElapsedTime(started);
            Worst = took > Worst ? took : Worst;
            Volatile.Write(ref _lastAt, Stopwatch.GetTimestamp());
            Interlocked.Increment(ref _answers);
            await Task.Delay(5, CancellationToken.None);
        }
    }
}
