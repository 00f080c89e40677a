using System.Collections.Immutable;
using System.Globalization;
using Gateway.Storage;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>The devices in Redis, by the schema of docs/redis.md.</summary>
internal sealed class DeviceStore(RedisConnection redis, TimeProvider time)
{
    /// <summary>The channel on which the uuid of a changed record is published.</summary>
    public static readonly RedisChannel Changes = RedisChannel.Literal("devices");

    private static readonly RedisValue PublicUrl = "public_url";
    private static readonly RedisValue Key = "key";
    private static readonly RedisValue Name = "name";
    private static readonly RedisValue Created = "created";
    private static readonly RedisValue LastSeen = "last_seen";
    private static readonly RedisValue[] Fields = [PublicUrl, Key, Name, Created, LastSeen];

    // The braces are literal: a hash tag, so that a device's keys share a slot in Redis Cluster.
    private static RedisKey KeyOf(DeviceUuid uuid) => $"device:{{{uuid}}}";

    private static RedisKey RoutesOf(DeviceUuid uuid) => $"route:{{{uuid}}}";

    /// <summary>Reads a device; null when there is none.</summary>
    public async Task<DeviceRecord?> FindAsync(DeviceUuid uuid)
    {
        var values = await redis.Database.HashGetAsync(KeyOf(uuid), Fields);
        if (Array.TrueForAll(values.AsSpan(0, 4).ToArray(), static value => value.IsNull))
        {
            return null;
        }

        return new DeviceRecord
        {
            Uuid = uuid,
            PublicUrl = (string?)values[0] == "1", // as text: a RedisValue "01" equals "1"
            Key = DeviceKeyHash.TryParse(values[1], out var key) ? key : null,
            Name = values[2],
            Created = DateTimeOffset.TryParse(values[3], CultureInfo.InvariantCulture, out var created) ? created : null,
            LastSeen = DateTimeOffset.TryParse(values[4], CultureInfo.InvariantCulture, out var seen) ? seen : null,
        };
    }

    /// <summary>Reads where a device's tunnels are, those of nodes that live no more among them.</summary>
    public async Task<ImmutableArray<DeviceRoute>> FindRoutesAsync(DeviceUuid uuid) =>
    [
        .. from field in await redis.Database.HashGetAllAsync(RoutesOf(uuid))
           let route = DeviceRoute.Parse((string)field.Name!, (string?)field.Value ?? "")
           where route is not null
           select route,
    ];

    /// <summary>Writes down that a tunnel is up, and forgets those that <paramref name="isDead"/> knows to be no more.</summary>
    public async Task AddRouteAsync(DeviceUuid uuid, DeviceRoute route, Func<DeviceRoute, bool> isDead)
    {
        var database = redis.Database;
        var existing = FindRoutesAsync(uuid);
        await database.HashSetAsync(RoutesOf(uuid), route.ConnectionId, route.ToJson());
        var dead = (await existing).Where(isDead).Select(static old => (RedisValue)old.ConnectionId).ToArray();
        if (dead.Length > 0)
        {
            await database.HashDeleteAsync(RoutesOf(uuid), dead);
        }

        await database.PublishAsync(Changes, uuid.ToString());
    }

    /// <summary>
    /// Forgets one tunnel. The field is the tunnel's own, so that a late word of it can never erase a newer one, on
    /// whichever node that is.
    /// </summary>
    public async Task RemoveRouteAsync(DeviceUuid uuid, string connectionId, string node)
    {
        var database = redis.Database;
        await database.ScriptEvaluateAsync(
            RemoveRoute, [RoutesOf(uuid), KeyOf(uuid)], [connectionId, time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture), node]);
        await database.PublishAsync(Changes, uuid.ToString());
    }

    // In one step, for a device that was removed meanwhile must not come back as a hash of two fields.
    private const string RemoveRoute =
        """
        redis.call('HDEL', KEYS[1], ARGV[1])
        if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'last_seen', ARGV[2], 'last_node', ARGV[3]) end
        return 1
        """;

    /// <summary>Adds a device.</summary>
    /// <returns>False when the uuid is taken; then nothing was changed.</returns>
    public async Task<bool> AddAsync(DeviceUuid uuid, DeviceKeyHash key, string? name, bool publicUrl)
    {
        var database = redis.Database;

        // One step: of two that add the same uuid, one wins whole.
        var transaction = database.CreateTransaction();
        transaction.AddCondition(Condition.KeyNotExists(KeyOf(uuid)));
        var fields = new List<HashEntry>
        {
            new(PublicUrl, publicUrl ? "1" : "0"),
            new(Key, key.ToString()),
            new(Created, time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture)),
        };
        if (name is not null)
        {
            fields.Add(new HashEntry(Name, name));
        }

        _ = transaction.HashSetAsync(KeyOf(uuid), [.. fields]);
        if (!await transaction.ExecuteAsync())
        {
            return false;
        }

        await database.PublishAsync(Changes, uuid.ToString());
        return true;
    }

    /// <summary>Switches a device's public URL and tells every node.</summary>
    /// <returns>False when there is no such device; then nothing was changed.</returns>
    public async Task<bool> SetPublicUrlAsync(DeviceUuid uuid, bool enabled)
    {
        var database = redis.Database;
        var transaction = database.CreateTransaction();
        transaction.AddCondition(Condition.KeyExists(KeyOf(uuid)));
        _ = transaction.HashSetAsync(KeyOf(uuid), PublicUrl, enabled ? "1" : "0");
        if (!await transaction.ExecuteAsync())
        {
            return false;
        }

        await database.PublishAsync(Changes, uuid.ToString());
        return true;
    }
}
