using System.Collections.Immutable;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>The other nodes, who may know a device that this one has never been asked for.</summary>
internal interface INeighbours
{
    /// <summary>Asks all of them at once.</summary>
    /// <returns>The first word of one that knows the device; null when none does, or none answers in time.</returns>
    Task<Hearsay?> AskAsync(DeviceUuid uuid);
}

/// <summary>What another node knows of a device.</summary>
/// <param name="Age">How long ago that node read it from Redis.</param>
internal sealed record Hearsay(DeviceRecord Record, ImmutableArray<DeviceRoute> Routes, TimeSpan Age);
