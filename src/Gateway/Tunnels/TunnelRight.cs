using Gateway.Devices;
using Gateway.Limits;

namespace Gateway.Tunnels;

/// <summary>What a tunnel exists by: the key or the certificate that opened it, and its place among the node's tunnels.</summary>
internal sealed class TunnelRight(TunnelBudget budget, DeviceEntry.KeyWatch key, DeviceCertificates.Watch? certificate) : IDisposable
{
    private ConnectionUse? _connection;
    private bool _isCounted;

    /// <summary>What the device has under way.</summary>
    public DeviceUse Use => key.Use;

    /// <summary>Calls <paramref name="action"/> when the key is revoked, and when the certificate is, where that was the proof.</summary>
    public void AtEnd(Action action)
    {
        key.AtEnd(action);
        certificate?.AtEnd(action);
    }

    /// <summary>Takes a place; false when the node has as many tunnels as it takes.</summary>
    public bool TryCount() => _isCounted = budget.TryTunnel();

    /// <summary>Takes over what the tunnel's connection counts for.</summary>
    public void Take(ConnectionUse connection) => _connection = connection;

    public void Dispose()
    {
        _connection?.Dispose();
        certificate?.Dispose();
        key.Dispose();
        if (_isCounted)
        {
            budget.EndTunnel();
        }
    }
}
