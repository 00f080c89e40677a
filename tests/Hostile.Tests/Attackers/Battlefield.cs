using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
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

    /// <summary>20 s for each behaviour in the heavy run, else 1 s.</summary>
    internal static TimeSpan Duration { get; } = Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1" ? TimeSpan.FromSeconds(20) : TimeSpan.FromSeconds(1);

    public async ValueTask InitializeAsync()
    {
        HttpsPort = RedisServer.FreePort();
        Gateway = await GatewayProcess.StartAsync(
            null, $"Listen:Https=127.0.0.1:{HttpsPort}", $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}",
            "Listen:RequestHeadersTimeout=00:00:10", "Listen:ContentGrace=00:00:10", "Listen:StalledReadTimeout=00:00:10", "Limits:ExemptLoopback=false", "Storage:Timeout=00:00:10", "Devices:CacheTtl=00:00:30");
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

    /// <summary>Lets an attacker act while the honest visitor visits the other device. Who is cut off comes back at once.</summary>
    /// <param name="name">What the attacker does.</param>
    /// <param name="mustBeCutOff">Goes on until that has happened once.</param>
    /// <param name="attack">One attempt.</param>
    internal async Task<Report> WatchAsync(string name, bool mustBeCutOff, Func<CancellationToken, Task<Flood>> attack)
    {
        using var time = new CancellationTokenSource();
        await using var honest = new HonestVisitor(this);
        await Eventually.TrueAsync(() => honest.Answers > 0, "the honest visitor is there");
        var started = Stopwatch.GetTimestamp();
        var before = Resident();
        var peak = before;
        var attacker = new Attacker();
        var attacking = attacker.ActAsync(attack, time.Token);
        while (!attacking.IsCompleted || !time.IsCancellationRequested)
        {
            peak = Math.Max(peak, Resident());
            Assert.False(Gateway.Process.HasExited, $"The gateway has ended: {Gateway.Process.Output}");
            await Task.Delay(50, CancellationToken.None);
            var elapsed = Stopwatch.GetElapsedTime(started);
            if ((elapsed > Duration && (!mustBeCutOff || attacker.IsStopped)) || elapsed > Duration + Eventually.Patience)
            {
                await time.CancelAsync();
            }
        }

        await attacking;
        await Eventually.TrueAsync(() => honest.IsFresh, "the honest visitor is served afterwards");
        return new Report(name, attacker, honest.Answers, honest.Failures, honest.Worst, peak - before);
    }

    private long Resident() => GatewayProcess.Memory(Gateway.Process);

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
internal sealed record Report(string Name, Attacker Attacker, int Answers, IReadOnlyCollection<string> Failures, TimeSpan Worst, long Growth)
{
    /// <summary>A row of the table in docs/hostile.md.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"| {Name} | {Attacker.Bytes / 1048576.0:0.0} MB | {Stopped} | {Answers}, {Failures.Count}, {Worst.TotalMilliseconds:0} ms | {Growth / 1048576.0:+0;-0;0} MB |");

    private string Stopped => string.Create(CultureInfo.InvariantCulture, $"{Attacker.CutsOff} times{(Attacker.FirstCutOffAfter is { } after ? $", first after {after.TotalSeconds:0.0} s" : "")}{(Attacker.Refusals > 0 ? $"; refused {Attacker.Refusals} times" : "")}");
}

/// <summary>Attacks again and again.</summary>
internal sealed class Attacker
{
    private int _cutsOff;
    private int _refusals;

    /// <summary>How often its connection was ended while it acted.</summary>
    public int CutsOff => Volatile.Read(ref _cutsOff);

    /// <summary>How often it was not let in any more.</summary>
    public int Refusals => Volatile.Read(ref _refusals);

    public bool IsStopped => CutsOff + Refusals > 0;

    public TimeSpan? FirstCutOffAfter { get; private set; }

    public long Bytes { get; private set; }

    public async Task ActAsync(Func<CancellationToken, Task<Flood>> attack, CancellationToken time)
    {
        while (!time.IsCancellationRequested)
        {
            try
            {
                await using var flood = await attack(time);
                Bytes += flood.BytesSent;
                if (flood.CutOffAfter is { } after)
                {
                    FirstCutOffAfter ??= after;
                    Interlocked.Increment(ref _cutsOff);
                }
            }
            catch (Exception exception) when (exception is IOException or SocketException or AuthenticationException or OperationCanceledException)
            {
                // 429, or closed before a byte.
                Interlocked.Increment(ref _refusals);
                await Task.Delay(10, CancellationToken.None);
            }
        }
    }
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
