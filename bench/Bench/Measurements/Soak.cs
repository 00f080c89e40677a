using System.Diagnostics;
using Bench.Peers;
using Bench.Processes;
using Bench.Visits;

namespace Bench.Measurements;

/// <summary>Everything at once, for long: does anything grow?</summary>
internal static class Soak
{
    private const int QuietDevices = 500;
    private const int RestlessDevices = 100;
    private const int VisitsPerSecond = 100;
    private const int BigMb = 10;

    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Restless = TimeSpan.FromSeconds(10);

    public static readonly Measurement Measurement = new("soak", static async run =>
    {
        await using var stage = run.NewStage();
        var certificates = new Certificates(stage);
        var application = new Application(stage, BigMb);
        var applicationPort = Stage.FreePort();
        application.Start(stage, "application", applicationPort);
        var redis = await RedisServer.StartAsync(stage);
        var gateway = await GatewayServer.StartAsync(stage, redis, certificates.Issue("gateway", "tunnel.localhost", "*.localhost"));
        var busy = (await redis.AddDevicesAsync(1))[0];
        var agent = Agent.Start(stage, busy, new Uri($"https://tunnel.localhost:{gateway.Https}"), certificates.AuthorityFile, applicationPort);
        var address = $"http://127.0.0.1:{gateway.Http}";
        await Curl.AnswersAsync(stage, address, busy.Host, "the busy device does not answer", agent);

        var devices = await redis.AddDevicesAsync(QuietDevices);
        await TunnelSimulator.Start(stage, gateway.Https, certificates.AuthorityFile, devices, 1).DialAsync(QuietDevices, run.Stopping);
        var restless = TunnelSimulator.Start(stage, gateway.Https, certificates.AuthorityFile, await redis.AddDevicesAsync(RestlessDevices), 2);

        using var ending = CancellationTokenSource.CreateLinkedTokenSource(run.Stopping);
        var others = Task.WhenAll(ForeverAsync(BusyAsync), ForeverAsync(RestlessAsync));
        using var visitors = new Visitors();
        try
        {
            for (var minute = 1; minute <= run.Options.SoakMinutes; minute++)
            {
                var before = ProcFs.CpuMicroseconds([gateway.Process.Id]);
                var visits = visitors.VisitAsync(
                    Random.Shared.GetItems([.. devices], (int)(VisitsPerSecond * Minute.TotalSeconds)).Select(device => (gateway.Http, device)), VisitsPerSecond, run.Stopping);
                if (await Task.WhenAny(visits, others) == others)
                {
                    await others;
                }

                var result = await visits;
                if (result.Failure is { } failure)
                {
                    run.Say(failure);
                }

                run.Add(
                    "soak", "gateway", minute, ("processMb", ProcFs.ResidentKb(gateway.Process.Id) / 1024.0), ("agentMb", ProcFs.ResidentKb(agent.Id) / 1024.0), ("p50Ms", result.P50), ("p99Ms", result.P99),
                    ("failed", result.Failed), ("cpuPercent", (ProcFs.CpuMicroseconds([gateway.Process.Id]) - before) / Minute.TotalMicroseconds * 100));
            }
        }
        finally
        {
            await ending.CancelAsync();
            await others.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        async Task ForeverAsync(Func<Task> action)
        {
            while (!ending.IsCancellationRequested)
            {
                await action().WaitAsync(ending.Token);
            }
        }

        // A device with large bodies, visitors who stay and visitors who come anew.
        async Task BusyAsync()
        {
            await Curl.DownAsync(stage, address, busy.Host);
            await Curl.UpAsync(stage, address, busy.Host, application.BigFile);
            await Wrk.RunAsync(stage, $"{address}/small", busy.Host, 1, 8, (int)Pause.TotalSeconds);
            await Wrk.RunAsync(stage, $"https://127.0.0.1:{gateway.Https}/small", busy.Host, 1, 2, (int)Pause.TotalSeconds, close: true);
            await Task.Delay(Pause, ending.Token);
        }

        // Devices that lose their tunnels, all at once, and come back.
        async Task RestlessAsync()
        {
            var started = Stopwatch.GetTimestamp();
            await restless.DialAsync(RestlessDevices, ending.Token);
            await Task.Delay(Restless - TimeSpan.FromTicks(Math.Min(Stopwatch.GetElapsedTime(started).Ticks, Restless.Ticks)), ending.Token);
            await restless.DropAsync(ending.Token);
        }
    });
}
