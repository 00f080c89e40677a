using System.Collections.Immutable;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>What is known of a device: the hash <c>device:{uuid}</c> in Redis.</summary>
internal sealed record DeviceRecord
{
    public required DeviceUuid Uuid { get; init; }

    /// <summary>Whether visitors may reach the device.</summary>
    public required bool PublicUrl { get; init; }

    /// <summary>The keys by which the device authenticates; without one no tunnel is accepted.</summary>
    public ImmutableArray<DeviceKey> Keys { get; init; } = [];

    public string? Name { get; init; }

    /// <summary>What operators sort their fleet by: name to value, the value may be empty.</summary>
    public ImmutableSortedDictionary<string, string> Tags { get; init; } = NoTags;

    /// <summary>Whether the device itself may switch its public URL.</summary>
    public bool SelfService { get; init; }

    public DateTimeOffset? Created { get; init; }

    /// <summary>When the device's last tunnel ended; null when that was never written.</summary>
    public DateTimeOffset? LastSeen { get; init; }

    /// <summary>The node that its last tunnel was on.</summary>
    public string? LastNode { get; init; }

    /// <summary>Counts the gateway's own changes; what others write straight into Redis does not count.</summary>
    public long Version { get; init; }

    public bool Equals(DeviceRecord? other) =>
        other is not null
        && (Uuid, PublicUrl, Name, SelfService, Version) == (other.Uuid, other.PublicUrl, other.Name, other.SelfService, other.Version)
        && (Created, LastSeen, LastNode) == (other.Created, other.LastSeen, other.LastNode)
        && Keys.AsSpan().SequenceEqual(other.Keys.AsSpan())
        && (ReferenceEquals(Tags, other.Tags) || Tags.SequenceEqual(other.Tags));

    public override int GetHashCode() => HashCode.Combine(Uuid, Version);

    public static ImmutableSortedDictionary<string, string> NoTags { get; } = ImmutableSortedDictionary.Create<string, string>(StringComparer.Ordinal);

    /// <summary>The key that was given, if it is one of the device's and good now. All of them are compared, whichever it is.</summary>
    public DeviceKey? FindKey(DeviceKeyHash given, DateTimeOffset now)
    {
        DeviceKey? found = null;
        foreach (var key in Keys)
        {
            found = key.Hash.Matches(given) && key.IsValid(now) ? key : found;
        }

        return found;
    }
}
