using Bench.Peers;
using Bench.Processes;
using Bench.Visits;

namespace Bench.Measurements;

/// <summary>What is measured of every way to the application.</summary>
internal static class PeerMeasurements
{
    private const int Connections = 64;

    /// <summary>Small GETs of many visitors.</summary>
    public static readonly Measurement Small = new("small", static async run =>
    {
        var peers = await run.PeersAsync("small");
        await run.InterleaveAsync("small", peers, async (peer, round) =>
        {
            var (front, device) = (ProcFs.CpuMicroseconds(peer.FrontIds), ProcFs.CpuMicroseconds(peer.DeviceIds));
            var result = await Wrk.RunAsync(run.PeerStage, $"{peer.Address}/small", peer.Host, 2, Connections, run.Options.Seconds, peer.Network);
            run.Add("small", peer.Name, round, [
                ("requestsPerSecond", result.RequestsPerSecond), ("p50Ms", result.P50), ("p99Ms", result.P99),
                ("frontCpuUs", (double)(ProcFs.CpuMicroseconds(peer.FrontIds) - front) / result.Requests),
                .. peer.Device.Count == 0 ? [] : ((string, double)[])[("deviceCpuUs", (double)(ProcFs.CpuMicroseconds(peer.DeviceIds) - device) / result.Requests)],
            ]);
        });
    });

    /// <summary>One visitor alone, and one beside a large download of the same way.</summary>
    public static readonly Measurement One = new("one", static async run =>
    {
        var peers = await run.PeersAsync("one");
        await run.InterleaveAsync("one", peers, async (peer, round) =>
        {
            var idle = await SmallAsync(peer);
            using var enough = CancellationTokenSource.CreateLinkedTokenSource(run.Stopping);
            var downloading = DownloadAsync(peer, enough.Token);
            var beside = await SmallAsync(peer);
            await enough.CancelAsync();
            var downloads = await downloading;
            run.Add("one", peer.Name, round, ("p50Us", idle.P50 * 1000), ("p99Us", idle.P99 * 1000), ("besideDownloadP50Us", beside.P50 * 1000), ("besideDownloadP99Us", beside.P99 * 1000), ("downloads", downloads));
        });

        Task<WrkResult> SmallAsync(RunningPeer peer) => Wrk.RunAsync(run.PeerStage, $"{peer.Address}/small", peer.Host, 1, 1, run.Options.Seconds, peer.Network);

        // As often as there is time for; the last is cut.
        async Task<double> DownloadAsync(RunningPeer peer, CancellationToken enough)
        {
            var downloads = 0;
            while (!enough.IsCancellationRequested)
            {
                await using var curl = run.PeerStage.Launch("curl", ["curl", "-sSf", "-o", "/dev/null", "-H", $"Host: {peer.Host}", $"{peer.Address}/big"], peer.Network);
                try
                {
                    await curl.WaitForExitAsync(enough);
                }
                catch (OperationCanceledException) when (enough.IsCancellationRequested)
                {
                    break;
                }

                downloads += curl.ExitCode == 0 ? 1 : throw new BenchException($"{peer.Name}: the download beside failed: {curl.Output}");
            }

            return downloads;
        }
    });

    /// <summary>Large bodies.</summary>
    public static readonly Measurement Big = new("big", static async run =>
    {
        var peers = await run.PeersAsync("big");
        await run.InterleaveAsync("big", peers, async (peer, round) => run.Add(
            "big", peer.Name, round,
            ("downMBs", await Curl.DownAsync(run.PeerStage, peer.Address, peer.Host, peer.Network)),
            ("upMBs", await Curl.UpAsync(run.PeerStage, peer.Address, peer.Host, run.BigFile, peer.Network))));
    });
}
