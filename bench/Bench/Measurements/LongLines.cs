using System.Globalization;
using Bench.Peers;
using Bench.Processes;
using Bench.Visits;

namespace Bench.Measurements;

/// <summary>A device behind a long line that loses packets: through its tunnel, and directly.</summary>
internal static class LongLines
{
    private const string Cloud = "10.78.0.1";
    private const string Device = "10.78.0.2";
    private const int DirectPort = 8443;

    public static readonly Measurement Measurement = new("wan", static async run =>
    {
        if (!File.Exists("/dev/net/tun"))
        {
            throw new BenchException("there is no /dev/net/tun");
        }

        await using var stage = run.NewStage();
        var (cloud, device) = (await stage.NetworkAsync(), await stage.NetworkAsync());
        await JoinAsync(run, stage, cloud, device);

        var certificates = new Certificates(stage);
        var application = new Application(stage, run.Options.WanMb);
        var applicationPort = Stage.FreePort();
        var direct = certificates.Issue("device", Device);
        application.Start(stage, "application", applicationPort, device, $"listen {Device}:{DirectPort} ssl; ssl_certificate {direct.Certificate}; ssl_certificate_key {direct.Key};");

        stage.Hosts(device, $"{Cloud} tunnel.bench.test");
        var redis = await RedisServer.StartAsync(stage, cloud);
        var known = (await redis.AddDevicesAsync(1))[0];
        var host = $"{known.Uuid}.bench.test";
        var gateway = await GatewayServer.StartAsync(stage, redis, certificates.Issue("gateway", "tunnel.bench.test"), "gateway", cloud, Cloud, "Edge:Domains:0=bench.test");
        var agent = Agent.Start(stage, known, new Uri($"https://tunnel.bench.test:{gateway.Https}"), certificates.AuthorityFile, applicationPort, "agent", device);

        (string Name, string Address, string[] More)[] ways =
        [
            ("direct", $"https://{Device}:{DirectPort}", ["--cacert", certificates.AuthorityFile]),
            ("tunnel", $"http://{Cloud}:{gateway.Http}", []),
        ];
        foreach (var (name, address, more) in ways)
        {
            await Curl.AnswersAsync(stage, address, host, $"{name}: the application does not answer", agent, cloud, more);
        }

        for (var round = 1; round <= run.Options.Rounds; round++)
        {
            for (var i = 0; i < ways.Length; i++)
            {
                var (name, address, more) = ways[(i + round - 1) % ways.Length];
                run.Add(
                    "wan", name, round,
                    ("downMBs", await Curl.DownAsync(stage, address, host, cloud, more)), ("upMBs", await Curl.UpAsync(stage, address, host, application.BigFile, cloud, more)));
            }
        }
    });

    /// <summary>Two networks, and the line between them.</summary>
    private static async Task JoinAsync(Run run, Stage stage, string cloud, string device)
    {
        var (one, other) = ($"bl{Environment.ProcessId}a", $"bl{Environment.ProcessId}b");
        var delay = (run.Options.Rtt / 2.0).ToString(CultureInfo.InvariantCulture);
        var line = stage.Start("long line", [Environment.ProcessPath!, "link", one, other, delay, $"{run.Options.Loss}"]);
        await line.WaitForLineAsync("ready", TimeSpan.FromSeconds(10), stage.Stopping);
        foreach (var (name, network, address) in new[] { (one, cloud, Cloud), (other, device, Device) })
        {
            await stage.RunAsync("ip", ["ip", "link", "set", name, "netns", network]);
            await stage.RunAsync("ip", ["ip", "-n", network, "addr", "add", $"{address}/24", "dev", name]);
            await stage.RunAsync("ip", ["ip", "-n", network, "link", "set", name, "txqueuelen", "10000", "up"]);
        }
    }
}
