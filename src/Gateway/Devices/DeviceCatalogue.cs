using System.Collections.Immutable;
using System.Threading.Channels;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>
/// All devices in memory, in order, for lists and searches. The truth stays in Redis: the catalogue reads it whole at first,
/// follows the channel of changes, and reads it whole again every <see cref="DeviceOptions.ReconcileInterval"/>, because
/// other systems may write devices without a word.
/// </summary>
internal sealed partial class DeviceCatalogue(
    DeviceStore store, RedisConnection redis, IOptions<DeviceOptions> options, TimeProvider time, ILogger<DeviceCatalogue> logger) : BackgroundService
{
    private const int BatchSize = 500;

    private readonly Lock _lock = new();
    private readonly List<DeviceSummary> _devices = [];   // by uuid
    private readonly Channel<DeviceUuid> _changed = Channel.CreateUnbounded<DeviceUuid>(new UnboundedChannelOptions { SingleReader = true });
    private readonly TaskCompletionSource _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when every device has been seen once; until then lists are short.</summary>
    public Task Loaded => _loaded.Task;

    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _devices.Count;
            }
        }
    }

    /// <summary>One page of what matches, and how many do in all.</summary>
    public CataloguePage List(CatalogueQuery query)
    {
        // The smallest so many after the cursor: a heap whose root is the largest of those kept.
        var order = query.ByName ? ByName : ByUuid;
        var kept = new PriorityQueue<DeviceSummary, DeviceSummary>(Comparer<DeviceSummary>.Create((a, b) => order.Compare(b, a)));
        var total = 0;
        lock (_lock)
        {
            for (var i = IndexOfPrefix(query.UuidPrefix); i < _devices.Count; i++)
            {
                var device = _devices[i];
                if (!device.UuidText.StartsWith(query.UuidPrefix, StringComparison.Ordinal))
                {
                    break;
                }

                if (!query.Matches(device))
                {
                    continue;
                }

                total++;
                if (query.After is { } after && order.Compare(device, after) <= 0)
                {
                    continue;
                }

                if (kept.Count <= query.Limit)
                {
                    kept.Enqueue(device, device);
                }
                else if (order.Compare(device, kept.Peek()) < 0)
                {
                    kept.EnqueueDequeue(device, device);
                }
            }
        }

        // One more than asked for was kept, to know whether there is a next page.
        var page = new DeviceSummary[kept.Count];
        for (var i = page.Length - 1; i >= 0; i--)
        {
            page[i] = kept.Dequeue();
        }

        var hasMore = page.Length > query.Limit;
        return new CataloguePage(hasMore ? page[..^1] : page, total, hasMore);
    }

    /// <summary>All that match, in no promised order.</summary>
    public ImmutableArray<DeviceUuid> Select(Func<DeviceSummary, bool> matches)
    {
        lock (_lock)
        {
            return [.. _devices.Where(matches).Select(static device => device.Uuid)];
        }
    }

    /// <summary>Every tag that a device has, with the number of its devices.</summary>
    public IReadOnlyDictionary<string, int> Tags()
    {
        var tags = new Dictionary<string, int>(StringComparer.Ordinal);
        lock (_lock)
        {
            foreach (var (name, value) in _devices.SelectMany(static device => device.Tags))
            {
                var tag = value.Length == 0 ? name : $"{name}={value}";
                tags[tag] = tags.GetValueOrDefault(tag) + 1;
            }
        }

        return tags;
    }

    /// <summary>Takes in what was just read or written; whoever wrote it sees it in the next list.</summary>
    public void Apply(DeviceUuid uuid, DeviceRecord? record)
    {
        lock (_lock)
        {
            var index = IndexOf(uuid);
            if (record is null)
            {
                if (index >= 0)
                {
                    _devices.RemoveAt(index);
                }
            }
            else if (index >= 0)
            {
                _devices[index] = DeviceSummary.Of(record);
            }
            else
            {
                _devices.Insert(~index, DeviceSummary.Of(record));
            }
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            await redis.SubscribeAsync(
                DeviceStore.Changes,
                message =>
                {
                    if (DeviceUuid.TryParse((string?)message, null, out var uuid))
                    {
                        _changed.Writer.TryWrite(uuid);
                    }
                },
                stoppingToken);

            while (true)
            {
                var complete = await TryAsync(() => ReconcileAsync(multiplexer));
                await FollowAsync(complete ? options.Value.ReconcileInterval : TimeSpan.FromSeconds(1), stoppingToken);
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

    // Takes in announced changes until it is time to read everything again.
    private async Task FollowAsync(TimeSpan duration, CancellationToken stoppingToken)
    {
        using var over = new CancellationTokenSource(duration, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(over.Token, stoppingToken);
        try
        {
            while (await _changed.Reader.WaitToReadAsync(either.Token))
            {
                await TryAsync(TakeChangesAsync);
            }
        }
        catch (OperationCanceledException) when (!stoppingToken.IsCancellationRequested)
        {
            // Time for the whole.
        }
    }

    private async Task TakeChangesAsync()
    {
        var changed = new HashSet<DeviceUuid>();
        while (changed.Count < BatchSize && _changed.Reader.TryRead(out var uuid))
        {
            changed.Add(uuid);
        }

        await ReadAsync(changed);
    }

    private async Task ReconcileAsync(ConnectionMultiplexer multiplexer)
    {
        // Of a cluster every primary holds a part.
        var seen = new HashSet<DeviceUuid>();
        var batch = new List<DeviceUuid>(BatchSize);
        foreach (var server in multiplexer.GetServers().Where(static server => server is { IsConnected: true, IsReplica: false }))
        {
            await foreach (var key in server.KeysAsync(redis.Database.Database, DeviceStore.KeyPattern, pageSize: 1000))
            {
                if (DeviceStore.TryReadKey(key, out var uuid) && seen.Add(uuid))
                {
                    batch.Add(uuid);
                    if (batch.Count == BatchSize)
                    {
                        await ReadAsync(batch);
                        batch.Clear();
                        await TakeChangesAsync();
                    }
                }
            }
        }

        await ReadAsync(batch);

        // What is known here and has no key any more is asked for once more: it may just have been added.
        foreach (var gone in Select(device => !seen.Contains(device.Uuid)).Chunk(BatchSize))
        {
            await ReadAsync(gone);
        }

        if (_loaded.TrySetResult())
        {
            LogLoaded(logger, Count);
        }
    }

    private async Task ReadAsync(IReadOnlyCollection<DeviceUuid> uuids)
    {
        var reads = uuids.Select(uuid => (uuid, Record: store.FindAsync(uuid))).ToList();
        await Task.WhenAll(reads.Select(static read => read.Record));
        foreach (var (uuid, record) in reads)
        {
            Apply(uuid, await record);
        }
    }

    private async Task<bool> TryAsync(Func<Task> work)
    {
        try
        {
            await work();
            return true;
        }
        catch (Exception exception) when (exception is RedisException || RedisConnection.IsUnavailable(exception))
        {
            LogBehind(logger, exception.Message);
            return false;
        }
    }

    private int IndexOf(DeviceUuid uuid) => IndexOfPrefix(uuid.ToString()) is var index && index < _devices.Count && _devices[index].Uuid == uuid ? index : ~index;

    // Where the first device at or after the prefix stands.
    private int IndexOfPrefix(string prefix)
    {
        var (low, high) = (0, _devices.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = string.CompareOrdinal(_devices[middle].UuidText, prefix) < 0 ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private static readonly Comparer<DeviceSummary> ByUuid = Comparer<DeviceSummary>.Create(static (a, b) => string.CompareOrdinal(a.UuidText, b.UuidText));

    // Those without a name stand last.
    private static readonly Comparer<DeviceSummary> ByName = Comparer<DeviceSummary>.Create(static (a, b) =>
    {
        var byName = (a.Name is null).CompareTo(b.Name is null);
        byName = byName != 0 ? byName : string.Compare(a.Name, b.Name, StringComparison.OrdinalIgnoreCase);
        return byName != 0 ? byName : string.CompareOrdinal(a.UuidText, b.UuidText);
    });

    [LoggerMessage(Level = LogLevel.Information, Message = "The catalogue has {Count} devices")]
    private static partial void LogLoaded(ILogger logger, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The catalogue of devices is behind, lists may be old: {Reason}")]
    private static partial void LogBehind(ILogger logger, string reason);
}

/// <summary>What lists show of a device.</summary>
internal sealed record DeviceSummary(DeviceUuid Uuid, string? Name, bool PublicUrl, ImmutableSortedDictionary<string, string> Tags)
{
    /// <summary>The digits, kept because lists compare them often.</summary>
    public string UuidText { get; } = Uuid.ToString();

    public static DeviceSummary Of(DeviceRecord record) => new(record.Uuid, record.Name, record.PublicUrl, record.Tags);

    /// <summary>Whether the device has a tag, given as <c>name</c> or <c>name=value</c>.</summary>
    public bool HasTag(string tag)
    {
        var equals = tag.IndexOf('=', StringComparison.Ordinal);
        return equals < 0 ? Tags.ContainsKey(tag) : Tags.TryGetValue(tag[..equals], out var value) && tag.AsSpan(equals + 1).SequenceEqual(value);
    }
}

/// <summary>What a list is to show.</summary>
internal sealed record CatalogueQuery
{
    /// <summary>The most devices of the page.</summary>
    public int Limit { get; init; } = 50;

    /// <summary>Begin after this one: the last of the page before.</summary>
    public DeviceSummary? After { get; init; }

    /// <summary>By name, those without one last; otherwise by uuid.</summary>
    public bool ByName { get; init; }

    public string UuidPrefix { get; init; } = "";

    /// <summary>A part of the name, in any case.</summary>
    public string? Name { get; init; }

    /// <summary>A part of the name, the beginning of the uuid, or a tag.</summary>
    public string? Text { get; init; }

    /// <summary>All of these, as <c>name</c> or <c>name=value</c>.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>Whether the public URL is on.</summary>
    public bool? Enabled { get; init; }

    /// <summary>Whether the device has a tunnel; needs <see cref="OnlineDevices"/>.</summary>
    public bool? Online { get; init; }

    public IReadOnlySet<DeviceUuid>? OnlineDevices { get; init; }

    public bool Matches(DeviceSummary device) =>
        (Enabled is not { } enabled || device.PublicUrl == enabled)
        && (Name is null || device.Name?.Contains(Name, StringComparison.OrdinalIgnoreCase) == true)
        && (Text is null || MatchesText(device, Text))
        && Tags.All(device.HasTag)
        && (Online is not { } online || OnlineDevices!.Contains(device.Uuid) == online);

    private static bool MatchesText(DeviceSummary device, string text) =>
        device.UuidText.StartsWith(text, StringComparison.OrdinalIgnoreCase) || device.Name?.Contains(text, StringComparison.OrdinalIgnoreCase) == true || device.HasTag(text);
}

/// <param name="Total">How many match on all pages.</param>
internal sealed record CataloguePage(IReadOnlyList<DeviceSummary> Devices, int Total, bool HasMore);
