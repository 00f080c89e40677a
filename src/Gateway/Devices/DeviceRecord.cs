using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>What is known of a device: the hash <c>device:{uuid}</c> in Redis.</summary>
internal sealed record DeviceRecord
{
    public required DeviceUuid Uuid { get; init; }

    /// <summary>Whether visitors may reach the device.</summary>
    public required bool PublicUrl { get; init; }

    /// <summary>Null when the device has no key: then no tunnel is accepted.</summary>
    public required DeviceKeyHash? Key { get; init; }

    public string? Name { get; init; }

    public DateTimeOffset? Created { get; init; }

    /// <summary>When the device's last tunnel ended; null when that was never written.</summary>
    public DateTimeOffset? LastSeen { get; init; }
}
