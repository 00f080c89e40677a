using System.Collections.Concurrent;
using System.Text.Json;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>
/// What devices are doing, for their operators: counts, the last requests, the tunnels they had. It is gathered here and
/// written to Redis every few seconds, a device at most once: neither a request nor a tunnel waits for it, and a
/// storm of reconnects costs one write a device.
/// </summary>
internal sealed partial class DeviceActivity(RedisConnection redis, IOptions<DeviceOptions> options, TimeProvider time, ILogger<DeviceActivity> logger) : BackgroundService
{
    private const int BatchSize = 500;
    private const int MaxTunnels = 20;
    private const int MaxPath = 200;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan KeptFor = TimeSpan.FromDays(90);

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull };

    private readonly ConcurrentDictionary<DeviceUuid, Pending> _pending = new();
    private readonly int _keptRequests = options.Value.RecentRequests;

    /// <summary>A visitor's request has ended.</summary>
    /// <param name="failure">The name of the failure when the answer was the gateway's; null when it was the application's.</param>
    /// <param name="started">A timestamp of the time provider.</param>
    public void Visited(DeviceUuid uuid, HttpContext context, int status, string? failure, long started)
    {
        // The query is left out: it is where secrets are.
        var path = context.Request.Path.Value ?? "";
        var request = new RecentRequest(
            time.GetUtcNow(), context.Request.Method, path.Length > MaxPath ? path[..MaxPath] + "…" : path,
            status, failure, (long)time.GetElapsedTime(started).TotalMilliseconds);
        Add(uuid, (request, kept: _keptRequests), static (pending, visit) =>
        {
            pending.Requests++;
            pending.Failures += visit.request.Failure is null ? 0 : 1;
            if (visit.kept > 0)
            {
                if (pending.Recent.Count == visit.kept)
                {
                    pending.Recent.Dequeue();
                }

                pending.Recent.Enqueue(visit.request);
            }
        });
    }

    /// <summary>A tunnel has come up.</summary>
    public void Connected(DeviceUuid uuid, string agent) => Add(uuid, agent, static (pending, agent) => pending.Agent = agent);

    /// <summary>A tunnel has ended.</summary>
    public void Disconnected(DeviceUuid uuid, PastTunnel tunnel) => Add(uuid, tunnel, static (pending, tunnel) =>
    {
        pending.Tunnels.Enqueue(tunnel);
        if (pending.Tunnels.Count > MaxTunnels)
        {
            pending.Tunnels.Dequeue();
        }
    });

    /// <summary>Bytes have crossed a tunnel.</summary>
    /// <param name="sent">To the device.</param>
    /// <param name="received">From the device.</param>
    public void Crossed(DeviceUuid uuid, long sent, long received) => Add(uuid, (sent, received), static (pending, bytes) =>
    {
        pending.Sent += bytes.sent;
        pending.Received += bytes.received;
    });

    /// <summary>The counts of a device.</summary>
    public async Task<DeviceCounts> CountsAsync(DeviceUuid uuid)
    {
        var fields = (await redis.Database.HashGetAllAsync(StatusKey(uuid))).ToDictionary(static field => (string)field.Name!, static field => field.Value, StringComparer.Ordinal);
        return new DeviceCounts(
            (string?)fields.GetValueOrDefault("agent"), (long)fields.GetValueOrDefault("requests"), (long)fields.GetValueOrDefault("failures"),
            (long)fields.GetValueOrDefault("bytes_sent"), (long)fields.GetValueOrDefault("bytes_received"));
    }

    /// <summary>The last requests of a device's visitors, the newest first.</summary>
    public Task<IReadOnlyList<RecentRequest>> RequestsAsync(DeviceUuid uuid) => ListAsync<RecentRequest>(RequestsKey(uuid));

    /// <summary>The last tunnels of a device that have ended, the newest first.</summary>
    public Task<IReadOnlyList<PastTunnel>> TunnelsAsync(DeviceUuid uuid) => ListAsync<PastTunnel>(TunnelsKey(uuid));

    /// <summary>Forgets a device that was deleted.</summary>
    public Task ForgetAsync(DeviceUuid uuid) => redis.Database.KeyDeleteAsync([StatusKey(uuid), RequestsKey(uuid), TunnelsKey(uuid)]);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await FlushAsync();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        await FlushAsync();
    }

    private async Task FlushAsync()
    {
        foreach (var batch in _pending.Keys.Chunk(BatchSize))
        {
            if (!redis.IsConnected)
            {
                return;
            }

            try
            {
                await Task.WhenAll(batch.Select(uuid => _pending.TryRemove(uuid, out var pending) ? WriteAsync(uuid, pending) : Task.CompletedTask));
            }
            catch (Exception exception) when (exception is RedisException || RedisConnection.IsUnavailable(exception))
            {
                // It is information, and no reason to hold anything up: what is lost is lost.
                LogLost(logger, exception.Message);
            }
        }
    }

    private async Task WriteAsync(DeviceUuid uuid, Pending pending)
    {
        lock (pending)
        {
            pending.Taken = true;
        }

        await redis.Database.ScriptEvaluateAsync(
            Write,
            [StatusKey(uuid), RequestsKey(uuid), TunnelsKey(uuid)],
            [
                pending.Requests, pending.Failures, pending.Sent, pending.Received, pending.Agent, (long)KeptFor.TotalSeconds, _keptRequests, MaxTunnels,
                pending.Recent.Count, .. pending.Recent.Select(ToJson), .. pending.Tunnels.Select(ToJson),
            ]);

        static RedisValue ToJson<T>(T item) => JsonSerializer.Serialize(item, Json);
    }

    // One step in one slot, for the device's keys share a hash tag; and one question where there would be nine.
    private const string Write =
        """
        for i, name in ipairs({ 'requests', 'failures', 'bytes_sent', 'bytes_received' }) do
            if ARGV[i] ~= '0' then redis.call('HINCRBY', KEYS[1], name, ARGV[i]) end
        end
        if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'agent', ARGV[5]) end
        redis.call('EXPIRE', KEYS[1], ARGV[6])
        local function push(key, first, last, kept)
            for i = first, last do redis.call('LPUSH', key, ARGV[i]) end
            if first <= last then
                redis.call('LTRIM', key, 0, kept - 1)
                redis.call('EXPIRE', key, ARGV[6])
            end
        end
        push(KEYS[2], 10, 9 + ARGV[9], ARGV[7])
        push(KEYS[3], 10 + ARGV[9], #ARGV, ARGV[8])
        return 1
        """;

    private void Add<T>(DeviceUuid uuid, T what, Action<Pending, T> change)
    {
        while (true)
        {
            var pending = _pending.GetOrAdd(uuid, static _ => new Pending());
            lock (pending)
            {
                if (!pending.Taken)
                {
                    change(pending, what);
                    return;
                }
            }
        }
    }

    private async Task<IReadOnlyList<T>> ListAsync<T>(RedisKey key) =>
        [.. (await redis.Database.ListRangeAsync(key)).Select(static item => JsonSerializer.Deserialize<T>((string)item!, Json)!)];

    private static RedisKey StatusKey(DeviceUuid uuid) => $"status:{{{uuid}}}";

    private static RedisKey RequestsKey(DeviceUuid uuid) => $"requests:{{{uuid}}}";

    private static RedisKey TunnelsKey(DeviceUuid uuid) => $"tunnels:{{{uuid}}}";

    [LoggerMessage(Level = LogLevel.Warning, Message = "What devices did in the last seconds could not be written and is missing on their pages: {Reason}")]
    private static partial void LogLost(ILogger logger, string reason);

    private sealed class Pending
    {
        public bool Taken;
        public long Requests;
        public long Failures;
        public long Sent;
        public long Received;
        public string Agent = "";

        public Queue<RecentRequest> Recent { get; } = new();

        public Queue<PastTunnel> Tunnels { get; } = new();
    }
}

/// <summary>A visitor's request, as its device's operator sees it.</summary>
/// <param name="Failure">The failure's name (docs/failures.md) when the answer was the gateway's.</param>
/// <param name="Milliseconds">From the request's head to the end of the answer.</param>
public sealed record RecentRequest(DateTimeOffset At, string Method, string Path, int Status, string? Failure, long Milliseconds);

/// <summary>A tunnel that has ended.</summary>
public sealed record PastTunnel(string Node, DateTimeOffset Since, DateTimeOffset Until, string? Address, string Agent);

/// <summary>What has been counted of a device, on all nodes, since it was added.</summary>
internal sealed record DeviceCounts(string? Agent, long Requests, long Failures, long BytesSent, long BytesReceived);
