using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>A device's record as the fields of its hash (docs/redis.md), there and back.</summary>
internal static class DeviceFields
{
    public const string Version = "version";
    public const string Deleted = "deleted";

    private const string PublicUrl = "public_url";
    private const string Key = "key";
    private const string KeyPrefix = "key.";
    private const string Name = "name";
    private const string TagPrefix = "tag.";
    private const string SelfService = "self_service";
    private const string Created = "created";
    private const string LastSeen = "last_seen";
    private const string LastNode = "last_node";

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Reads a record; null when the fields are none of a device, or of one that was deleted.</summary>
    public static DeviceRecord? Read(DeviceUuid uuid, HashEntry[] fields)
    {
        ImmutableArray<DeviceKey>.Builder? keys = null;
        ImmutableSortedDictionary<string, string>.Builder? tags = null;
        var (exists, publicUrl, selfService, version) = (false, false, false, 0L);
        string? name = null, lastNode = null;
        DateTimeOffset? created = null, lastSeen = null;
        foreach (var entry in fields)
        {
            var (field, value) = ((string)entry.Name!, (string?)entry.Value);
            switch (field)
            {
                case Deleted:
                    return null;
                case PublicUrl:
                    publicUrl = value == "1";
                    break;
                case Name:
                    name = value;
                    break;
                case SelfService:
                    selfService = value == "1";
                    break;
                case Created:
                    created = ReadTime(value);
                    break;
                case Version:
                    version = long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : 0;
                    continue;
                case LastSeen:
                    lastSeen = ReadTime(value);
                    continue;
                case LastNode:
                    lastNode = value;
                    continue;
                case Key:
                    if (DeviceKeyHash.TryParse(value, out var only))
                    {
                        (keys ??= ImmutableArray.CreateBuilder<DeviceKey>(1)).Add(new DeviceKey(only));
                    }

                    break;
                case var _ when field.StartsWith(KeyPrefix, StringComparison.Ordinal):
                    if (DeviceKeyHash.TryParse(field.AsSpan(KeyPrefix.Length), out var hash))
                    {
                        (keys ??= ImmutableArray.CreateBuilder<DeviceKey>(1)).Add(ReadKey(hash, value));
                    }

                    break;
                case var _ when field.StartsWith(TagPrefix, StringComparison.Ordinal):
                    (tags ??= DeviceRecord.NoTags.ToBuilder())[field[TagPrefix.Length..]] = value ?? "";
                    break;
                default:
                    // What other systems keep beside it makes no device.
                    continue;
            }

            exists = true;
        }

        return !exists
            ? null
            : new DeviceRecord
            {
                Uuid = uuid, PublicUrl = publicUrl, Keys = InOrder(keys), Name = name, Tags = tags?.ToImmutable() ?? DeviceRecord.NoTags, SelfService = selfService,
                Created = created, LastSeen = lastSeen, LastNode = lastNode, Version = version,
            };
    }

    // The same key may stand there in both forms.
    private static ImmutableArray<DeviceKey> InOrder(ImmutableArray<DeviceKey>.Builder? keys)
    {
        if (keys is null or { Count: 1 })
        {
            return keys?.DrainToImmutable() ?? [];
        }

        keys.Sort(static (a, b) => string.CompareOrdinal(a.Hash.ToString(), b.Hash.ToString()));
        return [.. keys.DistinctBy(static key => key.Hash.ToString(), StringComparer.Ordinal)];
    }

    /// <summary>What must be written so that <paramref name="before"/> (null: nothing) becomes <paramref name="after"/>.</summary>
    public static (List<HashEntry> Set, List<RedisValue> Remove) Difference(DeviceRecord? before, DeviceRecord after)
    {
        var old = before is null ? [] : Write(before);
        var now = Write(after);
        var set = now.Where(field => !old.TryGetValue(field.Key, out var value) || value != field.Value).Select(static field => new HashEntry(field.Key, field.Value)).ToList();
        var remove = old.Keys.Where(field => !now.ContainsKey(field)).Select(static field => (RedisValue)field).ToList();

        // A key in the short form is removed, or changed, under the name that it has there.
        if (before is not null && before.Keys.Any(key => !after.Keys.Contains(key)))
        {
            remove.Add(Key);
            set.AddRange(after.Keys.Where(before.Keys.Contains).Select(static key => new HashEntry(KeyPrefix + key.Hash, WriteKey(key))));
        }

        return (set, remove);
    }

    /// <summary>The fields of a record, but for those that count and date it.</summary>
    public static Dictionary<string, string> Write(DeviceRecord record)
    {
        var fields = new Dictionary<string, string>(StringComparer.Ordinal) { [PublicUrl] = record.PublicUrl ? "1" : "0" };
        if (record.Name is not null)
        {
            fields[Name] = record.Name;
        }

        if (record.SelfService)
        {
            fields[SelfService] = "1";
        }

        if (record.Created is { } created)
        {
            fields[Created] = created.ToString("O", CultureInfo.InvariantCulture);
        }

        foreach (var (tag, value) in record.Tags)
        {
            fields[TagPrefix + tag] = value;
        }

        foreach (var key in record.Keys)
        {
            fields[KeyPrefix + key.Hash] = WriteKey(key);
        }

        return fields;
    }

    private static string WriteKey(DeviceKey key) => JsonSerializer.Serialize(new KeyValue { Name = key.Name, Created = key.Created, Expires = key.Expires }, Json);

    // What cannot be read as to when a key ends, ends it: a mistake must not keep a door open.
    private static DeviceKey ReadKey(DeviceKeyHash hash, string? json)
    {
        if (string.IsNullOrEmpty(json))
        {
            return new DeviceKey(hash);
        }

        try
        {
            var value = JsonSerializer.Deserialize<KeyValue>(json, Json);
            return new DeviceKey(hash, value?.Name, value?.Created, value?.Expires);
        }
        catch (JsonException)
        {
            return new DeviceKey(hash, Expires: DateTimeOffset.MinValue);
        }
    }

    private static DateTimeOffset? ReadTime(string? text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;

    private sealed class KeyValue
    {
        public string? Name { get; init; }

        public DateTimeOffset? Created { get; init; }

        public DateTimeOffset? Expires { get; init; }
    }
}
