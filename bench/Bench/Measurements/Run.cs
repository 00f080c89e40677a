using System.Diagnostics;
using Bench.Peers;
using Bench.Processes;
using Bench.Visits;
using Bench.Report;

namespace Bench.Measurements;

/// <summary>A measurement by its name on the command line.</summary>
internal sealed record Measurement(string Name, Func<Run, Task> RunAsync);

/// <summary>One run of the bench: what measurements share.</summary>
internal sealed class Run(Options options, BenchRecord record, CancellationToken stopping) : IAsyncDisposable
{
    private const int MaxReason = 300;

    private readonly long _started = Stopwatch.GetTimestamp();
    private Stage? _peerStage;
    private List<RunningPeer>? _peers;
    private Application? _application;

    public Options Options => options;

    /// <summary>What was found so far.</summary>
    public BenchRecord Record => record;

    public CancellationToken Stopping => stopping;

    /// <summary>Something to start programs on. Whoever asks disposes of it.</summary>
    public Stage NewStage() => new(options.OneGroup, stopping);

    public void Say(string line) => Console.Error.WriteLine(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(_started):hh\\:mm\\:ss} {line}"));

    /// <summary>Keeps figures, and shows them.</summary>
    public void Add(string measurement, string @case, int round, params (string Name, double Value)[] values)
    {
        record.Samples.Add(new Sample(measurement, @case, round, new(values.ToDictionary(static value => value.Name, static value => Math.Round(value.Value, 4)), StringComparer.Ordinal)));
        Say($"{measurement} {@case} {round}: {string.Join(", ", values.Select(static value => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{value.Name} {value.Value:0.##}")))}");
    }

    /// <summary>Keeps why something was not measured (the beginning of it), and shows all of it.</summary>
    public void AddAbsent(string measurement, string @case, string reason)
    {
        record.Absent.Add(new Absent(measurement, @case, reason.ReplaceLineEndings(" ") is var line && line.Length > MaxReason ? line[..MaxReason] + " ..." : line));
        Say($"{measurement} {@case}: not measured: {reason}");
    }

    /// <summary>The large file of the peers' application.</summary>
    public string BigFile => _application!.BigFile;

    /// <summary>The stage of the peers.</summary>
    public Stage PeerStage => _peerStage!;

    /// <summary>All peers that run here, started and warmed up once.</summary>
    public async Task<IReadOnlyList<RunningPeer>> PeersAsync(string measurement)
    {
        if (_peers is not null)
        {
            return _peers;
        }

        _peerStage = NewStage();
        _peers = [];
        _application = new Application(_peerStage, options.BigMb);
        var port = Stage.FreePort();
        _application.Start(_peerStage, "application", port);
        var ground = new PeerGround(_peerStage, _application, port, new Certificates(_peerStage));
        foreach (var peer in AllPeers.List.Where(peer => options.Peers.Contains(peer.Name) || peer.Name is AllPeers.Yarp or AllPeers.Gateway))
        {
            record.Ways[peer.Name] = peer.Way;
            Say($"starting {peer.Name}: {peer.Way}");
            try
            {
                if (peer.Programs.FirstOrDefault(static program => !IsInstalled(program)) is { } missing)
                {
                    throw new BenchException($"{missing} is not installed");
                }

                var running = await peer.StartAsync(ground);
                await running.AnswersAsync(_peerStage);
                _peers.Add(running);
            }
            catch (BenchException exception) when (peer.Name is not (AllPeers.Yarp or AllPeers.Gateway))
            {
                AddAbsent(measurement, peer.Name, exception.Message);
            }
        }

        if (options.Warmup > 0)
        {
            foreach (var peer in _peers)
            {
                Say($"warming {peer.Name} up for {options.Warmup} s");
                try
                {
                    await Wrk.RunAsync(_peerStage, $"{peer.Address}/small", peer.Host, 2, 64, options.Warmup, peer.Network);
                }
                catch (BenchException exception) when (peer.Name is not (AllPeers.Yarp or AllPeers.Gateway))
                {
                    Say($"{peer.Name} while warming up: {exception.Message}");
                }
            }
        }

        return _peers;
    }

    /// <summary>Ends the peers: what comes now has the machine for itself.</summary>
    public async ValueTask StopPeersAsync()
    {
        if (_peerStage is not null)
        {
            await _peerStage.DisposeAsync();
            (_peerStage, _peers) = (null, null);
        }
    }

    /// <summary>Rounds of all peers, each round beginning with another one. A rival that fails takes part no more.</summary>
    public async Task InterleaveAsync(string measurement, IReadOnlyList<RunningPeer> peers, Func<RunningPeer, int, Task> measure)
    {
        var failed = new HashSet<string>(StringComparer.Ordinal);
        for (var round = 1; round <= options.Rounds; round++)
        {
            for (var i = 0; i < peers.Count; i++)
            {
                stopping.ThrowIfCancellationRequested();
                var peer = peers[(i + round - 1) % peers.Count];
                try
                {
                    if (!failed.Contains(peer.Name))
                    {
                        await measure(peer, round);
                    }
                }
                catch (BenchException exception) when (peer.Name is not (AllPeers.Yarp or AllPeers.Gateway))
                {
                    failed.Add(peer.Name);
                    AddAbsent(measurement, peer.Name, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"it failed in round {round}: {exception.Message}"));
                }
            }
        }
    }

    public ValueTask DisposeAsync() => StopPeersAsync();

    /// <summary>Whether a program is in PATH, or where Debian keeps those of the administrator.</summary>
    public static bool IsInstalled(string program) =>
        $"{Environment.GetEnvironmentVariable("PATH")}:/usr/sbin:/sbin".Split(':', StringSplitOptions.RemoveEmptyEntries).Any(folder => File.Exists(Path.Combine(folder, program)));
}
