using System.Collections.Concurrent;
using System.Collections.Immutable;
using Gateway.Storage;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>
/// Who is who, from memory. A visitor's request asks Redis only for a device that nobody asked for within
/// <see cref="DeviceOptions.CacheTtl"/>: records in use are read anew in the background, changes announced on the channel
/// are read at once, and while Redis is away known records stay good for <see cref="DeviceOptions.MaxStaleness"/>, and
/// other nodes are asked for the rest.
/// Absence is remembered like a record, so that an unknown device and a disabled one are answered by the same steps.
/// </summary>
internal sealed partial class DeviceDirectory(
    DeviceStore store, RedisConnection redis, StoreMark mark, IOptions<DeviceOptions> options, GatewayMetrics metrics, TimeProvider time, ILogger<DeviceDirectory> logger,
    INeighbours? neighbours = null) : BackgroundService
{
    /// <summary>After Redis has failed to answer, it is not asked again for this long while what is known will do.</summary>
    private static readonly TimeSpan Respite = TimeSpan.FromMilliseconds(500);

    /// <summary>The record of a device that has a tunnel and no visitors is read anew this often; changes announced on the channel are read at once.</summary>
    private static readonly TimeSpan TunnelCheck = TimeSpan.FromMinutes(1);

    /// <summary>The most records that are under way to an emptied Redis at once.</summary>
    private const int RestoreBatch = 256;

    private readonly ConcurrentDictionary<DeviceUuid, DeviceEntry> _entries = new();
    private readonly DeviceOptions _options = options.Value;
    private long _failedAt;

    /// <summary>Finds a device's entry and what is known of it.</summary>
    /// <exception cref="StoreUnavailableException">Redis is away and nothing recent enough is known.</exception>
    public ValueTask<(DeviceEntry Entry, DeviceEntry.Known Known)> FindAsync(DeviceUuid uuid)
    {
        var entry = EntryOf(uuid);
        if (entry.Fresh(_options.CacheTtl) is not { } known)
        {
            return AskAsync(uuid, entry);
        }

        metrics.LookedUp(GatewayMetrics.Lookup.Memory);
        return ValueTask.FromResult((entry, known));
    }

    /// <summary>Checks a device's key, or whatever else proves who it is. The same steps for every failure, a uuid that is none among them.</summary>
    /// <returns>A watch on the key, to be disposed of; null when the two do not belong together.</returns>
    /// <exception cref="StoreUnavailableException">Redis is away and nothing recent enough is known.</exception>
    public async Task<DeviceEntry.KeyWatch?> AuthenticateAsync(DeviceUuid? uuid, DeviceKeyHash given, Func<DeviceUuid, bool>? provenOtherwise = null)
    {
        if (uuid is not { } device)
        {
            return null;
        }

        while (true)
        {
            var (entry, known) = await FindAsync(device);
            var key = known.Record?.FindKey(given, time.GetUtcNow());
            if (known.Record is null || (key is null && provenOtherwise?.Invoke(device) != true))
            {
                return null;
            }

            if (entry.TryWatchKey(key?.Hash) is { } watch)
            {
                return watch;
            }
        }
    }

    /// <summary>What this node can tell another one of a device, from memory or from Redis; null when it knows of none.</summary>
    public async Task<Hearsay?> TellAsync(DeviceUuid uuid)
    {
        var entry = EntryOf(uuid);
        return (entry.Fresh(_options.CacheTtl) ?? await TryAskAsync(uuid, entry)) is { Record: { } record } known
            ? new Hearsay(record, known.Routes, time.GetElapsedTime(known.ReadAt))
            : null;
    }

    /// <summary>Where the device's tunnels were when it was last looked up here.</summary>
    public ImmutableArray<DeviceRoute> KnownRoutes(DeviceUuid uuid) => _entries.TryGetValue(uuid, out var entry) && entry.Last is { } known ? known.Routes : [];

    private DeviceEntry EntryOf(DeviceUuid uuid) => _entries.TryGetValue(uuid, out var existing) ? existing : _entries.GetOrAdd(uuid, new DeviceEntry(uuid, store, time));

    private async ValueTask<(DeviceEntry Entry, DeviceEntry.Known Known)> AskAsync(DeviceUuid uuid, DeviceEntry entry)
    {
        if (await TryAskAsync(uuid, entry) is { } known)
        {
            return (entry, known);
        }

        if (neighbours is not null && await neighbours.AskAsync(uuid) is { } heard && heard.Age <= _options.MaxStaleness)
        {
            metrics.LookedUp(GatewayMetrics.Lookup.Neighbour);
            return (entry, entry.Hear(heard));
        }

        metrics.LookedUp(GatewayMetrics.Lookup.Unavailable);
        throw new StoreUnavailableException("The device is not known here, and Redis does not answer.");
    }

    // Null: Redis is away, and nothing recent enough is known here.
    private async ValueTask<DeviceEntry.Known?> TryAskAsync(DeviceUuid uuid, DeviceEntry entry)
    {
        var failedAt = Interlocked.Read(ref _failedAt);
        if (failedAt == 0 || time.GetElapsedTime(failedAt) > Respite)
        {
            try
            {
                var known = await entry.RefreshAsync();
                metrics.LookedUp(GatewayMetrics.Lookup.Redis);
                if (known.Record is null && _entries.Count > _options.CacheCapacity)
                {
                    // Floods of unknown names do not fill the memory: beyond the capacity, absence is not remembered.
                    _entries.TryRemove(new KeyValuePair<DeviceUuid, DeviceEntry>(uuid, entry));
                }

                return known;
            }
            catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
            {
                Interlocked.Exchange(ref _failedAt, time.GetTimestamp());
            }
        }

        if (entry.Last is { } last && time.GetElapsedTime(last.ReadAt) <= _options.MaxStaleness)
        {
            metrics.LookedUp(GatewayMetrics.Lookup.Stale);
            return last;
        }

        return null;
    }

    /// <summary>A tunnel of the device came or went on this node: whoever waits for it looks again.</summary>
    /// <param name="uuid">The device.</param>
    /// <param name="wasReachable">Whether the tunnel was there until now.</param>
    public void Signal(DeviceUuid uuid, bool wasReachable)
    {
        if (_entries.TryGetValue(uuid, out var entry))
        {
            if (wasReachable)
            {
                entry.MarkReachable();
            }

            entry.Signal();
        }
    }

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        mark.WhenEmptied(RestoreAsync);
        return base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            multiplexer.ConnectionRestored += (_, _) => InvalidateAll();
            await redis.SubscribeAsync(DeviceStore.Changes, OnChanged, stoppingToken);
            await redis.SubscribeAsync(DeviceStore.RouteChanges, OnChanged, stoppingToken);

            using var timer = new PeriodicTimer(_options.CacheTtl / 2, time);
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                await SweepAsync();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
        catch (StoreUnavailableException)
        {
            // There will be no store: the connection has said so and ends the gateway.
        }
    }

    private void OnChanged(RedisValue message)
    {
        if (DeviceUuid.TryParse((string?)message, null, out var uuid) && _entries.TryGetValue(uuid, out var entry))
        {
            entry.Invalidate();
            _ = TryRefreshAsync(entry);
        }
    }

    // The devices of this node's tunnels and visitors, those of the last minutes among them.
    private async Task RestoreAsync()
    {
        foreach (var batch in _entries.Values.Select(static entry => entry.Last?.Record).OfType<DeviceRecord>().Chunk(RestoreBatch))
        {
            await Task.WhenAll(batch.Select(store.RestoreAsync));
        }
    }

    // What was announced while the connection was down is not announced again.
    private void InvalidateAll()
    {
        foreach (var (_, entry) in _entries)
        {
            entry.Invalidate();
        }

        Interlocked.Exchange(ref _failedAt, 0);
    }

    private async Task SweepAsync()
    {
        var refreshes = new List<Task>();
        foreach (var (uuid, entry) in _entries)
        {
            if (entry.TakeUsed() || entry.IsLeased)
            {
                refreshes.Add(TryRefreshAsync(entry));
            }
            else if (entry.IsWatched)
            {
                entry.EndWatches();
                if (entry.Last is not { Overtaken: false } known || time.GetElapsedTime(known.ReadAt) > TunnelCheck)
                {
                    refreshes.Add(TryRefreshAsync(entry));
                }
            }
            else if (IsOld(entry) && entry.TryRetire())
            {
                _entries.TryRemove(new KeyValuePair<DeviceUuid, DeviceEntry>(uuid, entry));
            }
        }

        await Task.WhenAll(refreshes);
    }

    private bool IsOld(DeviceEntry entry) =>
        entry.Last is not { } known || time.GetElapsedTime(known.ReadAt) > (known.Record is null ? _options.CacheTtl : _options.MaxStaleness);

    private async Task TryRefreshAsync(DeviceEntry entry)
    {
        try
        {
            await entry.RefreshAsync();
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            Interlocked.Exchange(ref _failedAt, time.GetTimestamp());
        }
        catch (RedisException exception)
        {
            LogUnreadable(logger, exception);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "A device's record could not be read")]
    private static partial void LogUnreadable(ILogger logger, Exception exception);
}
