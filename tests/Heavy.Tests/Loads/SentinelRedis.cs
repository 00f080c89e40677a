using System.Globalization;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>A master, a replica and three sentinels that watch them, each a process.</summary>
internal sealed class SentinelRedis : IAsyncDisposable
{
    private const string Service = "gateway";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-sentinel-");
    private readonly Dictionary<int, ChildProcess?> _servers = [];
    private readonly List<(int Port, ChildProcess Process)> _sentinels = [];
    private int _first;

    public string ConnectionString => $"{string.Join(',', _sentinels.Select(static one => $"127.0.0.1:{one.Port}"))},serviceName={Service}";

    public static async Task<SentinelRedis> StartAsync()
    {
        var redis = new SentinelRedis();
        for (var i = 0; i < 2; i++)
        {
            var port = RedisServer.FreePort();
            redis._first = i == 0 ? port : redis._first;
            var folder = redis._folder.CreateSubdirectory($"{port}");

            // In a file, for Sentinel rewrites it: so a server that comes back knows whose replica it is.
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "redis.conf"), $"""
                port {port}
                bind 127.0.0.1
                dir {folder.FullName}
                save ""
                appendonly yes
                repl-diskless-sync-delay 0
                {(i == 0 ? "" : $"replicaof 127.0.0.1 {redis._first}")}

                """);
            redis._servers[port] = null;
        }

        await redis.RestartAllAsync();
        for (var i = 0; i < 3; i++)
        {
            var port = RedisServer.FreePort();
            var file = Path.Combine(redis._folder.FullName, $"sentinel-{i}.conf");
            await File.WriteAllTextAsync(file, $"""
                port {port}
                bind 127.0.0.1
                dir {redis._folder.FullName}
                sentinel monitor {Service} 127.0.0.1 {redis._first} 2
                sentinel down-after-milliseconds {Service} 2000
                sentinel failover-timeout {Service} 10000

                """);
            redis._sentinels.Add((port, ChildProcess.Start(["redis-sentinel", file])));
        }

        await Eventually.TrueAsync(async () => (await redis.AskSentinelAsync($"SENTINEL replicas {Service}")).Contains("flags", StringComparison.Ordinal), "the sentinels know the replica");
        return redis;
    }

    /// <summary>The port of the master, as Sentinel tells it.</summary>
    public async Task<int> MasterAsync()
    {
        var lines = (await AskSentinelAsync($"SENTINEL get-master-addr-by-name {Service}")).Split('\n', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
        return int.Parse(lines[^1], CultureInfo.InvariantCulture);
    }

    public Task FailedOverAsync(int from) => Eventually.TrueAsync(async () => await MasterAsync() is var master && master != from, "Sentinel has promoted the replica");

    public void Kill(int port) => _servers[port]?.Kill();

    public void KillAll()
    {
        foreach (var port in _servers.Keys)
        {
            Kill(port);
        }
    }

    /// <summary>Starts the servers, those that run excepted, until they answer.</summary>
    public async Task RestartAllAsync()
    {
        foreach (var port in _servers.Keys)
        {
            if (_servers[port] is { HasExited: false })
            {
                continue;
            }

            if (_servers[port] is { } ended)
            {
                await ended.DisposeAsync();
            }

            _servers[port] = ChildProcess.Start(["redis-server", Path.Combine(_folder.FullName, $"{port}", "redis.conf")]);
            await _servers[port]!.WaitForOutputAsync("Ready to accept connections");
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var process in _sentinels.Select(static one => one.Process).Concat(_servers.Values.OfType<ChildProcess>()))
        {
            await process.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    private async Task<string> AskSentinelAsync(string command)
    {
        await using var cli = ChildProcess.Start(["redis-cli", "-p", $"{_sentinels[0].Port}", .. command.Split(' ')]);
        await cli.WaitForExitAsync();
        return cli.Output;
    }
}
