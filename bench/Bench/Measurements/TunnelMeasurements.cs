using System.Diagnostics;
using Bench.Peers;
using Bench.Processes;
using Bench.Visits;

namespace Bench.Measurements;

/// <summary>What tunnels cost that nobody, or hardly anybody, uses.</summary>
internal static class TunnelMeasurements
{
    /// <summary>The first hundreds warm the code and the heap up; what is added after them is counted.</summary>
    private const int WarmTunnels = 500;

    /// <summary>Rounds at most: each takes a gateway of its own, and a minute or more.</summary>
    private const int MaxRounds = 3;

    private const int VisitedOnce = 2000;
    private const int VisitsPerSecond = 200;

    /// <summary>Of visitors beside: several times what lives is allocated in them, so that the node gives memory back when they are over.</summary>
    private const int BesideSeconds = 20;

    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(10);

    /// <summary>Longer than a node takes to find that it is quiet, and to give memory back.</summary>
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(30);

    /// <summary>
    /// So many tunnels in one process, as many as can be made a second: by default a gateway keeps devices' handshakes to a part of
    /// the machine, and leaves a part of its files unused.
    /// </summary>
    private static readonly string[] Unlimited = ["Tls:DeviceHandshakesPerSecond=100000", "Limits:Node:Tunnels=19500", "Limits:Node:Connections=19800"];

    /// <summary>Idle tunnels of one gateway process.</summary>
    public static readonly Measurement Idle = new("idle", static async run =>
    {
        for (var round = 1; round <= Math.Min(run.Options.Rounds, MaxRounds); round++)
        {
            foreach (var tunnels in run.Options.Tunnels)
            {
                await IdleAsync(run, tunnels, round);
            }
        }
    });

    /// <summary>Devices that come back.</summary>
    public static readonly Measurement Handshakes = new("handshakes", static async run =>
    {
        var count = run.Options.Devices;
        await using var stage = run.NewStage();
        var certificates = new Certificates(stage);
        var redis = await RedisServer.StartAsync(stage);
        var gateway = await GatewayServer.StartAsync(stage, redis, certificates.Issue("gateway", "tunnel.localhost", "*.localhost"), settings: Unlimited);
        var simulator = TunnelSimulator.Start(stage, gateway.Https, certificates.AuthorityFile, await redis.AddDevicesAsync(count), 1);
        run.Say($"{count} devices connect for the first time");
        await simulator.DialAsync(count, run.Stopping);
        for (var round = 1; round <= run.Options.Rounds; round++)
        {
            foreach (var resumes in new[] { true, false })
            {
                await simulator.DropAsync(run.Stopping);
                await simulator.ResumeAsync(resumes, run.Stopping);
                await Task.Delay(Settle, run.Stopping);
                var before = ProcFs.CpuMicroseconds([gateway.Process.Id]);
                var dialled = await simulator.DialAsync(count, run.Stopping);
                run.Add(
                    "handshakes", resumes ? "resumed" : "in full", round, ("devices", count), ("seconds", dialled.Seconds),
                    ("gatewayCpuMs", (ProcFs.CpuMicroseconds([gateway.Process.Id]) - before) / 1000.0 / count),
                    ("handshakeBytes", dialled.HandshakeBytes), ("repeatedDials", dialled.Repeated));
            }
        }
    });

    /// <summary>Several nodes full of tunnels, and visitors who come to any node for any device.</summary>
    public static readonly Measurement Cluster = new("cluster", static async run =>
    {
        var (nodes, full) = (run.Options.Nodes, run.Options.NodeTunnels);
        var few = Math.Min(200, full / 3);
        await using var stage = run.NewStage();
        var certificates = new Certificates(stage);
        var redis = await RedisServer.StartAsync(stage);
        var tls = certificates.Issue("gateway", "tunnel.localhost", "*.localhost");
        run.Say($"{nodes} nodes on one Redis, {nodes * full} devices");
        var devices = await redis.AddDevicesAsync(nodes * full);
        var (gateways, simulators) = (new List<GatewayServer>(), new List<TunnelSimulator>());
        for (var node = 0; node < nodes; node++)
        {
            gateways.Add(await GatewayServer.StartAsync(
                stage, redis, tls, $"gateway {node + 1}", settings:
                [.. Unlimited, $"Cluster:Node=bench-{node + 1}", $"Cluster:Listen=127.0.0.1:{Stage.FreePort()}", "Cluster:Secret=a secret of the benchmarks, 32 characters and more"]));
            simulators.Add(TunnelSimulator.Start(stage, gateways[node].Https, certificates.AuthorityFile, [.. devices.Skip(node * full).Take(full)], node + 1));
        }

        // Of each node's devices, some warm the nodes up, as many are the nearly empty cluster's, and the rest the full one's.
        await DialAllAsync(few);
        await EveryNodeReachesEveryNodeAsync();
        await WarmUpAsync();
        var dialled = await DialAllAsync(few);
        await MeasureAsync("nearly empty", DevicesFrom(few, few), dialled);
        dialled = await DialAllAsync(full - 2 * few);
        await MeasureAsync("full", DevicesFrom(2 * few, full - 2 * few), dialled);

        Device[] DevicesFrom(int first, int count) => [.. Enumerable.Range(0, nodes).SelectMany(node => devices.Skip(node * full + first).Take(count))];

        async Task WarmUpAsync()
        {
            run.Say($"warming the nodes up for {run.Options.Warmup} s");
            using var visitors = new Visitors();
            var visits = Random.Shared.GetItems(DevicesFrom(0, few), run.Options.Warmup * VisitsPerSecond).Select(device => (gateways[Random.Shared.Next(nodes)].Http, device));
            if (run.Options.Warmup > 0)
            {
                await visitors.VisitAsync(visits, VisitsPerSecond, run.Stopping);
            }
        }

        async Task<Dialled[]> DialAllAsync(int each)
        {
            run.Say($"{nodes * each} tunnels are dialled");
            var all = Task.WhenAll(simulators.Select(simulator => simulator.DialAsync(each, run.Stopping)));
            var started = Stopwatch.GetTimestamp();
            while (await Task.WhenAny(all, Task.Delay(Settle, run.Stopping)) != all && !run.Stopping.IsCancellationRequested)
            {
                run.Say($"still dialling after {Stopwatch.GetElapsedTime(started).TotalSeconds:0} s; the nodes have {ResidentMb(gateways.Select(static gateway => gateway.Process)):0} MB");
            }

            return await all;
        }

        // Connections between nodes are made when they are needed first, and wait for it a second.
        async Task EveryNodeReachesEveryNodeAsync()
        {
            using var visitors = new Visitors();
            foreach (var node in gateways)
            {
                for (var other = 0; other < nodes; other++)
                {
                    var device = devices[other * full];
                    await stage.UntilAsync($"node {other + 1} cannot be reached by {node.Process.Name}", async () =>
                    {
                        try
                        {
                            await visitors.VisitAsync([(node.Http, device)], VisitsPerSecond, run.Stopping);
                            return true;
                        }
                        catch (BenchException)
                        {
                            return false;
                        }
                    }, node.Process);
                }
            }
        }

        async Task MeasureAsync(string @case, Device[] connected, Dialled[] how)
        {
            await Task.Delay(Settle, run.Stopping);
            using var visitors = new Visitors();
            var random = new Random(1);
            random.Shuffle(connected);
            var chosen = connected[..(nodes * few)];
            for (var round = 0; round <= run.Options.Rounds; round++)
            {
                var visits = await visitors.VisitAsync(chosen.Select(device => (gateways[random.Next(nodes)].Http, device)), VisitsPerSecond, run.Stopping);

                if (visits.Failure is { } failure)
                {
                    run.Say(failure);
                }

                // Each is visited for the first time in the first pass, and again in the others.
                if (round == 0)
                {
                    run.Add(
                        "cluster", @case, 0, ("tunnels", how.Sum(static one => one.Tunnels)), ("dialSeconds", how.Max(static one => one.Seconds)), ("repeatedDials", how.Sum(static one => one.Repeated)),
                        ("nodesMb", ResidentMb(gateways.Select(static gateway => gateway.Process))), ("redisMb", ResidentMb([redis.Process])),
                        ("devicesMb", ResidentMb(simulators.Select(static simulator => simulator.Process))), ("visits", visits.Sorted.Length + visits.Failed), ("firstFailed", visits.Failed), ("firstP50Ms", visits.P50), ("firstP99Ms", visits.P99));
                }
                else
                {
                    run.Add("cluster", @case, round, ("p50Ms", visits.P50), ("p99Ms", visits.P99), ("failed", visits.Failed));
                }
            }
        }
    });

    private static async Task IdleAsync(Run run, int tunnels, int round)
    {
        await using var stage = run.NewStage();
        var certificates = new Certificates(stage);
        var application = new Application(stage, 1);
        var applicationPort = Stage.FreePort();
        application.Start(stage, "application", applicationPort);
        var redis = await RedisServer.StartAsync(stage);
        var gateway = await GatewayServer.StartAsync(stage, redis, certificates.Issue("gateway", "tunnel.localhost", "*.localhost"), settings: Unlimited);
        var other = (await redis.AddDevicesAsync(1))[0];
        var agent = Agent.Start(stage, other, new Uri($"https://tunnel.localhost:{gateway.Https}"), certificates.AuthorityFile, applicationPort);
        await Curl.AnswersAsync(stage, $"http://127.0.0.1:{gateway.Http}", other.Host, "the device of the visitors does not answer", agent);

        var devices = await redis.AddDevicesAsync(WarmTunnels + tunnels);
        var simulator = TunnelSimulator.Start(stage, gateway.Https, certificates.AuthorityFile, devices, 1);
        await simulator.DialAsync(WarmTunnels, run.Stopping);
        await Task.Delay(Quiet, run.Stopping);
        var empty = ProcFs.ResidentKb(gateway.Process.Id);

        run.Say($"{tunnels} tunnels are dialled");
        var dialled = await simulator.DialAsync(tunnels, run.Stopping);
        await Task.Delay(Quiet, run.Stopping);
        var full = ProcFs.ResidentKb(gateway.Process.Id);

        var (cpu, started) = (ProcFs.CpuMicroseconds([gateway.Process.Id]), Stopwatch.GetTimestamp());
        await Task.Delay(Settle, run.Stopping);
        var idleCpu = (ProcFs.CpuMicroseconds([gateway.Process.Id]) - cpu) / Stopwatch.GetElapsedTime(started).TotalMicroseconds * 100;

        // The first hundreds are visited, too, before what is counted; and before both readings the garbage collector has the same work, so
        // that what has grown is what the visits between them left.
        using var visitors = new Visitors();
        await VisitAsync(0, WarmTunnels);
        var beside = await BesideAsync();
        var unvisited = ProcFs.ResidentKb(gateway.Process.Id);
        var visited = Math.Min(VisitedOnce, tunnels / 2);
        var first = await VisitAsync(WarmTunnels, visited);
        await BesideAsync();
        var quiet = ProcFs.ResidentKb(gateway.Process.Id);

        var each = (double)(full - empty) / tunnels;
        var kept = (double)(quiet - unvisited) / visited;
        run.Add(
            "idle", $"{tunnels}", round, ("tunnels", tunnels), ("memoryKb", each), ("processMb", full / 1024.0), ("idleCpuPercent", idleCpu), ("connectsPerSecond", tunnels / dialled.Seconds),
            ("repeatedDials", dialled.Repeated), ("p50Ms", beside.P50), ("p99Ms", beside.P99), ("visited", visited), ("failed", first.Failed), ("firstVisitP50Ms", first.P50), ("firstVisitP99Ms", first.P99),
            ("keptKb", kept), ("visitedOfUnvisited", (each + kept) / each));

        Task<VisitTimes> VisitAsync(int from, int count) =>
            visitors.VisitAsync(devices.Skip(from).Take(count).Select(device => (gateway.Http, device)), VisitsPerSecond, run.Stopping);

        async Task<WrkResult> BesideAsync()
        {
            var result = await Wrk.RunAsync(stage, $"http://127.0.0.1:{gateway.Http}/small", other.Host, 1, 8, BesideSeconds);
            await Task.Delay(Quiet, run.Stopping);
            return result;
        }
    }

    private static double ResidentMb(IEnumerable<ChildProcess> processes) => processes.Sum(static process => ProcFs.ResidentKb(process.Id)) / 1024.0;
}
