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
    private static readonly RedisValue[] Fields = [PublicUrl, Key, Name, Created];

    // The braces are literal: a hash tag, so that a device's keys share a slot in Redis Cluster.
    private static RedisKey KeyOf(DeviceUuid uuid) => $"device:{{{uuid}}}";

    /// <summary>Reads a device; null when there is none.</summary>
    public async Task<DeviceRecord?> FindAsync(DeviceUuid uuid)
    {
        var values = await redis.Database.HashGetAsync(KeyOf(uuid), Fields);
        if (Array.TrueForAll(values, static value => value.IsNull))
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
        };
    }

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
