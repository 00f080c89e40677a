using Bench.Peers;
using Bench.Processes;
using Bench.Visits;

namespace Bench.Measurements;

/// <summary>Visitors who come with TLS and a new connection for each request.</summary>
internal static class NewConnections
{
    private const int Visitors = 64;

    public static readonly Measurement Measurement = new("newconn", static async run =>
    {
        await using var stage = run.NewStage();
        var certificates = new Certificates(stage);
        var application = new Application(stage, 1);
        var applicationPort = Stage.FreePort();
        application.Start(stage, "application", applicationPort);
        var tls = certificates.Issue("gateway", "tunnel.localhost", "*.localhost");
        var redis = await RedisServer.StartAsync(stage);
        var gateway = await GatewayServer.StartAsync(stage, redis, tls);
        var device = (await redis.AddDevicesAsync(1))[0];
        Agent.Start(stage, device, new Uri($"https://tunnel.localhost:{gateway.Https}"), certificates.AuthorityFile, applicationPort);
        var yarpPort = Stage.FreePort();
        var yarp = stage.Start("plain-yarp", [Repository.PlainYarp, $"https://127.0.0.1:{yarpPort}", $"http://127.0.0.1:{applicationPort}", tls.Certificate, tls.Key]);

        (string Name, int Port, ChildProcess Front)[] ways = [(AllPeers.Yarp, yarpPort, yarp), (AllPeers.Gateway, gateway.Https, gateway.Process)];
        foreach (var (name, port, front) in ways)
        {
            await Curl.AnswersAsync(stage, $"https://127.0.0.1:{port}", device.Host, $"{name} does not answer", front, null, "-k"); // curl takes no wildcard of a top-level name
            if (run.Options.Warmup > 0)
            {
                run.Say($"warming {name} up for {run.Options.Warmup} s");
                await LoadAsync(port, run.Options.Warmup);
            }
        }

        for (var round = 1; round <= run.Options.Rounds; round++)
        {
            for (var i = 0; i < ways.Length; i++)
            {
                var (name, port, front) = ways[(i + round - 1) % ways.Length];
                var before = ProcFs.CpuMicroseconds([front.Id]);
                var result = await LoadAsync(port, run.Options.Seconds);
                run.Add(
                    "newconn", name, round, ("requestsPerSecond", result.RequestsPerSecond), ("p50Ms", result.P50), ("p99Ms", result.P99),
                    ("frontCpuUs", (double)(ProcFs.CpuMicroseconds([front.Id]) - before) / result.Requests));
            }
        }

        Task<WrkResult> LoadAsync(int port, int seconds) => Wrk.RunAsync(stage, $"https://127.0.0.1:{port}/small", device.Host, 2, Visitors, seconds, close: true);
    });
}
