using System.Net;
using Gateway.Devices;
using Gateway.Limits;
using Tunnel.Protocol;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tunnels;

/// <summary>A live tunnel of a device on this node.</summary>
internal sealed class DeviceTunnel(DeviceUuid uuid, ConnectionId connectionId, TunnelClient client, string agent, IPAddress? address, DateTimeOffset since, DeviceUse use)
{
    public DeviceUuid Uuid => uuid;

    /// <summary>Unique among all tunnels of all nodes.</summary>
    public ConnectionId ConnectionId => connectionId;

    /// <summary>Sends requests to the device.</summary>
    public TunnelClient Client => client;

    /// <summary>What the agent calls itself (its User-Agent), for people to read.</summary>
    public string Agent => agent;

    /// <summary>Where the device dialled from.</summary>
    public IPAddress? Address => address;

    /// <summary>When the tunnel came up.</summary>
    public DateTimeOffset Since => since;

    /// <summary>What the device has under way on this node.</summary>
    public DeviceUse Use => use;

    /// <summary>Completes when the tunnel has ended, and all that this means is done.</summary>
    public Task Life { get; set; } = Task.CompletedTask;

    /// <summary>Set when newer tunnels of the device took this one's place.</summary>
    public bool IsSurplus { get; set; }
}
