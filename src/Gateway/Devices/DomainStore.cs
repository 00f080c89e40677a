using Gateway.Storage;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>The domains that devices have of their own, in Redis, by the schema of docs/redis.md.</summary>
internal sealed class DomainStore(RedisConnection redis)
{
    /// <summary>The channel on which a changed name is published.</summary>
    public static readonly RedisChannel Changes = RedisChannel.Literal("domains");

    private static readonly RedisKey Domains = "domains";
    private static readonly RedisKey Version = "domains:version";

    /// <summary>Registers a name.</summary>
    /// <returns>The device that the name belongs to now, another one when it was taken before; and whether anything was changed.</returns>
    public async Task<(DeviceUuid Owner, bool Added)> AddAsync(DomainName name, DeviceUuid device)
    {
        if (!await redis.Database.HashSetAsync(Domains, name.ToString(), device.ToString(), When.NotExists)
            && DeviceUuid.TryParse(await redis.Database.HashGetAsync(Domains, name.ToString()), null, out var owner))
        {
            return (owner, false);
        }

        await AnnounceAsync(name);
        return (device, true);
    }

    /// <summary>Removes a name.</summary>
    /// <returns>False when it is not this device's; then nothing was changed.</returns>
    public async Task<bool> RemoveAsync(DomainName name, DeviceUuid device)
    {
        if (!await redis.Database.TryEvaluateAsync(RemoveIfOwned, Domains, [name.ToString(), device.ToString()]))
        {
            return false;
        }

        await AnnounceAsync(name);
        return true;
    }

    private const string RemoveIfOwned =
        """
        if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
        return redis.call('HDEL', KEYS[1], ARGV[1])
        """;

    /// <summary>The names of one device.</summary>
    public async Task<IReadOnlyList<string>> ListAsync(DeviceUuid device) =>
        [.. (await ReadAsync()).Where(pair => pair.Value == device).Select(static pair => pair.Key).Order(StringComparer.Ordinal)];

    /// <summary>All names. An entry that is no device's uuid counts for nothing.</summary>
    public async Task<Dictionary<string, DeviceUuid>> ReadAsync()
    {
        var domains = new Dictionary<string, DeviceUuid>(StringComparer.OrdinalIgnoreCase);
        foreach (var entry in await redis.Database.HashGetAllAsync(Domains))
        {
            if (DeviceUuid.TryParse((string?)entry.Value, null, out var device))
            {
                domains[(string)entry.Name!] = device;
            }
        }

        return domains;
    }

    /// <summary>Writes back what an emptied Redis has lost; what stands there already, stays.</summary>
    public async Task RestoreAsync(IReadOnlyDictionary<string, DeviceUuid> domains)
    {
        if (domains.Count > 0)
        {
            await Task.WhenAll(domains.Select(domain => redis.Database.HashSetAsync(Domains, domain.Key, domain.Value.ToString(), When.NotExists)));
            await redis.Database.StringIncrementAsync(Version);
        }
    }

    /// <summary>Is another number after each change.</summary>
    public async Task<string?> ReadVersionAsync() => await redis.Database.StringGetAsync(Version);

    private async Task AnnounceAsync(DomainName name)
    {
        await redis.Database.StringIncrementAsync(Version);
        await redis.Database.PublishAsync(Changes, name.ToString());
    }
}
