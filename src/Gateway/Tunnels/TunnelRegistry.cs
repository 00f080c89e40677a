using System.Collections.Concurrent;
using System.Collections.Immutable;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Tunnels;

/// <summary>The tunnels of this node, by device, the newest first.</summary>
internal sealed class TunnelRegistry(IOptions<TunnelOptions> options)
{
    private readonly ConcurrentDictionary<DeviceUuid, ImmutableArray<DeviceTunnel>> _tunnels = new();
    private readonly int _maxPerDevice = options.Value.MaxPerDevice;
    private volatile bool _closed;

    /// <summary>A tunnel was added or removed; handlers return quickly.</summary>
    public event Action<DeviceTunnel>? Changed;

    /// <summary>How many devices have a tunnel here.</summary>
    public int Devices => _tunnels.Count;

    /// <summary>All tunnels that are up.</summary>
    public IEnumerable<DeviceTunnel> All
    {
        get
        {
            // Without a lock and without a copy, which the dictionary's own list of values would be.
            foreach (var (_, tunnels) in _tunnels)
            {
                foreach (var tunnel in tunnels)
                {
                    yield return tunnel;
                }
            }
        }
    }

    /// <summary>Whether the tunnel is still held here.</summary>
    public bool Contains(DeviceTunnel tunnel) => _tunnels.TryGetValue(tunnel.Uuid, out var tunnels) && tunnels.Contains(tunnel);

    /// <summary>The device's tunnels, the newest first; empty when it has none here.</summary>
    public ImmutableArray<DeviceTunnel> FindAll(DeviceUuid uuid) => _tunnels.TryGetValue(uuid, out var tunnels) ? tunnels : [];

    /// <summary>The device's newest open tunnel; null when it has none here.</summary>
    public DeviceTunnel? Find(DeviceUuid uuid)
    {
        foreach (var tunnel in FindAll(uuid))
        {
            if (tunnel.Client.IsOpen)
            {
                return tunnel;
            }
        }

        return null;
    }

    /// <summary>Makes a tunnel the one that its device's next request takes.</summary>
    /// <returns>The tunnels that are too many now, for the caller to end.</returns>
    public ImmutableArray<DeviceTunnel> Add(DeviceTunnel tunnel)
    {
        var all = _tunnels.AddOrUpdate(
            tunnel.Uuid,
            static (_, added) => [added],
            static (_, existing, added) => existing.Insert(0, added),
            tunnel);
        Changed?.Invoke(tunnel);
        return _closed ? all : all.Length > _maxPerDevice ? all[_maxPerDevice..] : [];
    }

    /// <summary>Ends every tunnel, and each that is still added.</summary>
    public async Task CloseAsync()
    {
        _closed = true;
        var ending = All.ToList();
        foreach (var tunnel in ending)
        {
            await tunnel.Client.DisposeAsync();
        }

        await Task.WhenAll(ending.Select(static tunnel => tunnel.Life)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Forgets a tunnel, and only this one: a newer one of the same device stays.</summary>
    public void Remove(DeviceTunnel tunnel)
    {
        while (_tunnels.TryGetValue(tunnel.Uuid, out var existing))
        {
            var remaining = existing.Remove(tunnel);
            var done = remaining.IsEmpty
                ? _tunnels.TryRemove(new KeyValuePair<DeviceUuid, ImmutableArray<DeviceTunnel>>(tunnel.Uuid, existing))
                : _tunnels.TryUpdate(tunnel.Uuid, remaining, existing);
            if (done)
            {
                Changed?.Invoke(tunnel);
                return;
            }
        }
    }
}
