using System.Collections.Immutable;
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
    private readonly List<DeviceSummary> _byUuid = [];
    private readonly List<DeviceSummary> _byName = [];
    private readonly Dictionary<string, int> _tags = new(StringComparer.Ordinal);
    private readonly ChangedDevices _changed = new(time);
    private readonly TaskCompletionSource _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when every device has been seen once; until then lists are short.</summary>
    public Task Loaded => _loaded.Task;

    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _byUuid.Count;
            }
        }
    }

    /// <summary>One page of what matches, and how many do in all.</summary>
    public CataloguePage List(CatalogueQuery query)
    {
        // One more than asked for, to know whether there is a next page.
        var page = new List<DeviceSummary>(query.Limit + 1);
        int total;
        lock (_lock)
        {
            var (devices, order) = query.ByName ? (_byName, ByName) : (_byUuid, ByUuid);
            var first = query.After is { } after ? devices.BinarySearch(after, order) is >= 0 and var at ? at + 1 : ~devices.BinarySearch(after, order) : 0;
            if (query.MatchesAll)
            {
                total = devices.Count;
                page.AddRange(devices.Slice(first, Math.Min(query.Limit + 1, total - first)));
            }
            else
            {
                total = 0;
                for (var i = query.ByName ? 0 : IndexOfPrefix(query.UuidPrefix); i < devices.Count; i++)
                {
                    var device = devices[i];
                    if (!device.UuidText.StartsWith(query.UuidPrefix, StringComparison.Ordinal))
                    {
                        if (query.ByName)
                        {
                            continue;
                        }

                        break;
                    }

                    if (query.Matches(device))
                    {
                        total++;
                        if (i >= first && page.Count <= query.Limit)
                        {
                            page.Add(device);
                        }
                    }
                }
            }
        }

        var hasMore = page.Count > query.Limit;
        return new CataloguePage(hasMore ? page[..^1] : page, total, hasMore);
    }

    /// <summary>All that match, in no promised order.</summary>
    public ImmutableArray<DeviceUuid> Select(Func<DeviceSummary, bool> matches)
    {
        lock (_lock)
        {
            return [.. _byUuid.Where(matches).Select(static device => device.Uuid)];
        }
    }

    /// <summary>Every tag that a device has, as <c>name</c> or <c>name=value</c>, with the number of its devices.</summary>
    public IReadOnlyDictionary<string, int> Tags()
    {
        lock (_lock)
        {
            return new Dictionary<string, int>(_tags, StringComparer.Ordinal);
        }
    }

    /// <summary>Takes in what was just read or written; whoever wrote it sees it in the next list.</summary>
    public void Apply(DeviceUuid uuid, DeviceRecord? record)
    {
        lock (_lock)
        {
            var index = IndexOfPrefix(uuid.ToString());
            var old = index < _byUuid.Count && _byUuid[index].Uuid == uuid ? _byUuid[index] : null;
            var now = record is null ? null : DeviceSummary.Of(record);
            switch (old, now)
            {
                case (null, null):
                    return;
                case (null, not null):
                    _byUuid.Insert(index, now);
                    break;
                case (not null, null):
                    _byUuid.RemoveAt(index);
                    break;
                default:
                    _byUuid[index] = now;
                    break;
            }

            var (from, to) = (old is null ? -1 : _byName.BinarySearch(old, ByName), now is null ? -1 : _byName.BinarySearch(now, ByName));
            if (from >= 0 && from == to)
            {
                _byName[from] = now!;   // its name is the same
            }
            else
            {
                if (from >= 0)
                {
                    _byName.RemoveAt(from);
                }

                if (now is not null)
                {
                    _byName.Insert(~_byName.BinarySearch(now, ByName), now);
                }
            }

            CountTags(old, -1);
            CountTags(now, 1);
        }
    }

    private void CountTags(DeviceSummary? device, int change)
    {
        foreach (var (name, value) in device?.Tags ?? DeviceRecord.NoTags)
        {
            var tag = value.Length == 0 ? name : $"{name}={value}";
            if ((_tags[tag] = _tags.GetValueOrDefault(tag) + change) == 0)
            {
                _tags.Remove(tag);
            }
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await redis.SubscribeAsync(DeviceStore.Changes, _changed.Hear, stoppingToken);
            while (true)
            {
                var complete = await TryAsync(ReconcileAsync, stoppingToken);
                await _changed.FollowAsync(complete ? options.Value.ReconcileInterval : TimeSpan.FromSeconds(1), () => TryAsync(TakeChangesAsync, stoppingToken), stoppingToken);
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

    private Task TakeChangesAsync() => ReadAsync(_changed.Take());

    private async Task ReconcileAsync()
    {
        var seen = new HashSet<DeviceUuid>();
        var batch = new List<DeviceUuid>(BatchSize);
        await foreach (var key in redis.ScanAsync(DeviceStore.KeyPattern))
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

    private async Task<bool> TryAsync(Func<Task> work, CancellationToken stoppingToken)
    {
        try
        {
            await work();
            return true;
        }
        catch (Exception exception) when (exception is RedisException || RedisConnection.IsUnavailable(exception))
        {
            if (!stoppingToken.IsCancellationRequested)
            {
                LogBehind(logger, exception.Message);
            }

            return false;
        }
    }

    // Where the first device at or after the prefix stands.
    private int IndexOfPrefix(string prefix)
    {
        var (low, high) = (0, _byUuid.Count);
        while (low < high)
        {
            var middle = (low + high) / 2;
            (low, high) = string.CompareOrdinal(_byUuid[middle].UuidText, prefix) < 0 ? (middle + 1, high) : (low, middle);
        }

        return low;
    }

    private static readonly Comparer<DeviceSummary> ByUuid = Comparer<DeviceSummary>.Create(static (a, b) => string.CompareOrdinal(a.UuidText, b.UuidText));

    // Those without a name stand last.
    private static readonly Comparer<DeviceSummary> ByName = Comparer<DeviceSummary>.Create(static (a, b) =>
    {
        var byName = (a.Name is null).CompareTo(b.Name is null);
        byName = byName != 0 ? byName : string.CompareOrdinal(a.FoldedName, b.FoldedName);
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

    /// <summary>The name as it is compared: two that differ in case alone are alike (as <see cref="StringComparison.OrdinalIgnoreCase"/> has it), at an ordinal comparison's price.</summary>
    public string? FoldedName { get; } = Name?.ToUpperInvariant();

    public static DeviceSummary Of(DeviceRecord record) => new(record.Uuid, record.Name, record.PublicUrl, record.Tags);
}

/// <summary>A tag that is asked for: its name, and its value unless any will do.</summary>
internal readonly record struct TagFilter(string Name, string? Value)
{
    /// <summary>Reads <c>name</c> or <c>name=value</c>.</summary>
    public static TagFilter Parse(string text) => text.Split('=', 2) is [var name, var value] ? new TagFilter(name, value) : new TagFilter(text, null);

    public bool Matches(DeviceSummary device) => device.Tags.TryGetValue(Name, out var value) && (Value is null || value == Value);
}

/// <summary>What a list is to show.</summary>
internal sealed record CatalogueQuery
{
    private readonly string? _foldedName;
    private readonly string? _foldedText;
    private readonly TagFilter _textAsTag;

    /// <summary>The most devices of the page.</summary>
    public int Limit { get; init; } = 50;

    /// <summary>Begin after this one: the last of the page before.</summary>
    public DeviceSummary? After { get; init; }

    /// <summary>By name, those without one last; otherwise by uuid.</summary>
    public bool ByName { get; init; }

    public string UuidPrefix { get; init; } = "";

    /// <summary>A part of the name, in any case.</summary>
    public string? Name
    {
        get;
        init => (field, _foldedName) = (value, value?.ToUpperInvariant());
    }

    /// <summary>A part of the name, the beginning of the uuid, or a tag.</summary>
    public string? Text
    {
        get;
        init => (field, _foldedText, _textAsTag) = (value, value?.ToUpperInvariant(), TagFilter.Parse(value ?? ""));
    }

    /// <summary>All of these.</summary>
    public ImmutableArray<TagFilter> Tags { get; init; } = [];

    /// <summary>Whether the public URL is on.</summary>
    public bool? Enabled { get; init; }

    /// <summary>Whether the device has a tunnel; needs <see cref="IsOnline"/>.</summary>
    public bool? Online { get; init; }

    public Func<DeviceUuid, bool>? IsOnline { get; init; }

    /// <summary>Whether every device matches.</summary>
    public bool MatchesAll => UuidPrefix.Length == 0 && Enabled is null && Name is null && Text is null && Tags.IsEmpty && Online is null;

    /// <summary>Whether a device whose uuid begins as it should matches. It is asked of every device, so what is cheap comes first.</summary>
    public bool Matches(DeviceSummary device)
    {
        if (Enabled is { } enabled && device.PublicUrl != enabled)
        {
            return false;
        }

        foreach (var tag in Tags)
        {
            if (!tag.Matches(device))
            {
                return false;
            }
        }

        return (_foldedName is null || HasInName(device, _foldedName))
            && (_foldedText is null || HasInName(device, _foldedText) || _textAsTag.Matches(device) || device.UuidText.StartsWith(_foldedText, StringComparison.OrdinalIgnoreCase))
            && (Online is not { } online || IsOnline!(device.Uuid) == online);
    }

    private static bool HasInName(DeviceSummary device, string folded) => device.FoldedName?.Contains(folded, StringComparison.Ordinal) == true;
}

/// <param name="Total">How many match on all pages.</param>
internal sealed record CataloguePage(IReadOnlyList<DeviceSummary> Devices, int Total, bool HasMore);
