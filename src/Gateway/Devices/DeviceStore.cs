using System.Collections.Immutable;
using System.Globalization;
using Gateway.Storage;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>The devices in Redis, by the schema of docs/redis.md. Every change is one step, and is announced to every node.</summary>
internal sealed class DeviceStore(RedisConnection redis, StoreMark mark, TimeProvider time)
{
    /// <summary>The channel on which the uuid of a changed record is published.</summary>
    public static readonly RedisChannel Changes = RedisChannel.Literal("devices");

    /// <summary>The channel on which the uuid of a device is published whose tunnels have come or gone.</summary>
    public static readonly RedisChannel RouteChanges = RedisChannel.Literal("routes");

    /// <summary>After Redis was found empty, the routes of nodes that have not written theirs yet are remembered for this long.</summary>
    private static readonly TimeSpan Restoring = TimeSpan.FromSeconds(30);

    private const string KeyStart = "device:{";

    /// <summary>How <c>SCAN</c> finds devices.</summary>
    public static readonly RedisValue KeyPattern = KeyStart + "*}";

    private const int MaxAttempts = 100;

    // The braces are literal: a hash tag, so that a device's keys share a slot in Redis Cluster.
    private static RedisKey KeyOf(DeviceUuid uuid) => $"{KeyStart}{uuid}}}";

    private static RedisKey RoutesOf(DeviceUuid uuid) => $"route:{{{uuid}}}";

    /// <summary>The device whose record stands under a key of Redis; false when the key is none of a device.</summary>
    public static bool TryReadKey(string? key, out DeviceUuid uuid)
    {
        uuid = default;
        return key is not null && key.StartsWith(KeyStart, StringComparison.Ordinal) && key.EndsWith('}')
            && DeviceUuid.TryParse(key.AsSpan(KeyStart.Length..^1), null, out uuid);
    }

    /// <summary>Whether other nodes may still be writing back what an emptied Redis has lost.</summary>
    public bool IsBeingRestored => mark.WasEmptiedWithin(Restoring);

    /// <summary>Whether what is missing was deleted; false when Redis was emptied.</summary>
    public Task<bool> IsWholeAsync() => mark.IsSameAsync();

    /// <summary>Reads a device; null when there is none.</summary>
    public async Task<DeviceRecord?> FindAsync(DeviceUuid uuid) => DeviceFields.Read(uuid, await redis.Database.HashGetAllAsync(KeyOf(uuid)));

    /// <summary>Reads where a device's tunnels are, those of nodes that live no more among them.</summary>
    public async Task<ImmutableArray<DeviceRoute>> FindRoutesAsync(DeviceUuid uuid) =>
        [.. (await redis.Database.HashGetAllAsync(RoutesOf(uuid))).Select(static field => DeviceRoute.Parse((string)field.Name!, (string?)field.Value ?? "")).OfType<DeviceRoute>()];

    /// <summary>Writes down that a tunnel is up, and forgets those that are known to be no more.</summary>
    public async Task AddRouteAsync(DeviceUuid uuid, DeviceRoute route, IEnumerable<DeviceRoute> dead)
    {
        await redis.Database.ScriptEvaluateAsync(
            AddRoute, [RoutesOf(uuid)], [uuid.ToString(), route.ConnectionId.ToString(), route.ToJson(), .. dead.Select(static old => (RedisValue)old.ConnectionId.ToString())]);
    }

    // One question where there would be three: thousands of devices may come at once.
    private const string AddRoute =
        """
        redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
        if #ARGV > 3 then redis.call('HDEL', KEYS[1], unpack(ARGV, 4)) end
        redis.call('PUBLISH', 'routes', ARGV[1])
        return 1
        """;

    /// <summary>
    /// Forgets one tunnel. The field is the tunnel's own, so that a late word of it can never erase a newer one, on
    /// whichever node that is.
    /// </summary>
    public async Task RemoveRouteAsync(DeviceUuid uuid, ConnectionId connectionId, string node)
    {
        await redis.Database.ScriptEvaluateAsync(
            RemoveRoute, [RoutesOf(uuid), KeyOf(uuid)], [uuid.ToString(), connectionId.ToString(), time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture), node]);
    }

    // In one step, for a device that was removed meanwhile must not come back as a hash of two fields, nor its mark change.
    private const string RemoveRoute =
        """
        redis.call('HDEL', KEYS[1], ARGV[2])
        if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('HEXISTS', KEYS[2], 'deleted') == 0 then redis.call('HSET', KEYS[2], 'last_seen', ARGV[3], 'last_node', ARGV[4]) end
        redis.call('PUBLISH', 'routes', ARGV[1])
        return 1
        """;

    /// <summary>Adds a device.</summary>
    /// <returns>Null when it was added; otherwise what stands in its way, and nothing was changed.</returns>
    public async Task<AddConflict?> AddAsync(DeviceRecord device)
    {
        if (!await TryCreateAsync(device with { Created = time.GetUtcNow(), Version = 1 }))
        {
            return await redis.Database.HashExistsAsync(KeyOf(device.Uuid), DeviceFields.Deleted) ? AddConflict.Deleted : AddConflict.Exists;
        }

        await AnnounceAsync(device.Uuid);
        return null;
    }

    /// <summary>Writes back what an emptied Redis has lost; what stands there already, stays.</summary>
    public async Task RestoreAsync(DeviceRecord device)
    {
        if (await TryCreateAsync(device))
        {
            await AnnounceAsync(device.Uuid);
        }
    }

    /// <inheritdoc cref="AddAsync(DeviceRecord)"/>
    /// <returns>False when the uuid is taken; then nothing was changed.</returns>
    public async Task<bool> AddAsync(DeviceUuid uuid, DeviceKeyHash key, string? name, bool publicUrl) =>
        await AddAsync(new DeviceRecord { Uuid = uuid, PublicUrl = publicUrl, Name = name, Keys = [new DeviceKey(key, Created: time.GetUtcNow())] }) is null;

    /// <summary>Changes a device by a function of what it is, which may be called again when somebody else was faster.</summary>
    /// <returns>The device before and after; null when there is none. Where the two are equal nothing was written.</returns>
    public async Task<(DeviceRecord Before, DeviceRecord After)?> ChangeAsync(DeviceUuid uuid, Func<DeviceRecord, DeviceRecord> change)
    {
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            if (await FindAsync(uuid) is not { } before)
            {
                return null;
            }

            var after = change(before);
            var (set, remove) = DeviceFields.Difference(before, after);
            if (set.Count == 0 && remove.Count == 0)
            {
                return (before, before);
            }

            if (await redis.Database.TryEvaluateAsync(
                Change, KeyOf(uuid), [VersionOf(before), remove.Count, .. remove, .. Flat([.. set, new HashEntry(DeviceFields.Version, before.Version + 1)])]))
            {
                await AnnounceAsync(uuid);
                return (before, after with { Version = before.Version + 1 });
            }
        }

        throw new StoreUnavailableException("The device is being changed by so many at once that this change found no gap; try again.");
    }

    /// <summary>Switches a device's public URL and tells every node.</summary>
    /// <returns>False when there is no such device; then nothing was changed.</returns>
    public async Task<bool> SetPublicUrlAsync(DeviceUuid uuid, bool enabled) =>
        await ChangeAsync(uuid, record => record with { PublicUrl = enabled }) is not null;

    /// <summary>Deletes a device. A mark stays, so that its uuid is never given to another.</summary>
    /// <param name="check">Sees the device first, and may throw to keep it.</param>
    /// <returns>The device as it was; null when there was none.</returns>
    public async Task<DeviceRecord?> DeleteAsync(DeviceUuid uuid, Action<DeviceRecord> check)
    {
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            if (await FindAsync(uuid) is not { } before)
            {
                return null;
            }

            check(before);
            if (await redis.Database.TryEvaluateAsync(Delete, KeyOf(uuid), [VersionOf(before), time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture)]))
            {
                await AnnounceAsync(uuid);
                return before;
            }
        }

        throw new StoreUnavailableException("The device is being changed by so many at once that it could not be deleted; try again.");
    }

    private Task<bool> TryCreateAsync(DeviceRecord device) => redis.Database.TryEvaluateAsync(
        Create, KeyOf(device.Uuid), [.. Flat([.. DeviceFields.Difference(null, device).Set, new HashEntry(DeviceFields.Version, device.Version)])]);

    // Records that other systems wrote have no version before their first change.
    private static RedisValue VersionOf(DeviceRecord device) => device.Version == 0 ? RedisValue.EmptyString : device.Version;

    private static IEnumerable<RedisValue> Flat(IEnumerable<HashEntry> fields) => fields.SelectMany(static field => (RedisValue[])[field.Name, field.Value]);

    // Each is one step: of two that do the same at once, one wins whole.
    private const string Create =
        """
        if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
        for i = 1, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
        return 1
        """;

    private const string IfUnchanged =
        """
        if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'deleted') == 1 then return 0 end
        if (redis.call('HGET', KEYS[1], 'version') or '') ~= ARGV[1] then return 0 end

        """;

    private const string Change = IfUnchanged +
        """
        local removed = tonumber(ARGV[2])
        for i = 3, removed + 2 do redis.call('HDEL', KEYS[1], ARGV[i]) end
        for i = removed + 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
        return 1
        """;

    private const string Delete = IfUnchanged +
        """
        redis.call('DEL', KEYS[1])
        redis.call('HSET', KEYS[1], 'deleted', ARGV[2])
        return 1
        """;

    /// <summary>Has every node read a device anew.</summary>
    public async Task AnnounceAsync(DeviceUuid uuid) => await redis.Database.PublishAsync(Changes, uuid.ToString());
}

/// <summary>Why a device cannot be added.</summary>
internal enum AddConflict
{
    Exists,

    /// <summary>There was one; its uuid is not given again.</summary>
    Deleted,
}
