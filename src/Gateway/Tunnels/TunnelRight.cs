using Gateway.Devices;
using Gateway.Limits;

namespace Gateway.Tunnels;

/// <summary>What a tunnel exists by: the key or the certificate that opened it, and its place among the node's tunnels.</summary>
internal sealed class TunnelRight : IDisposable
{
    private readonly TunnelBudget _budget;
    private readonly DeviceEntry.KeyWatch _key;
    private readonly DeviceCertificates.Watch? _certificate;
    private readonly CancellationTokenSource? _either;
    private ConnectionUse? _connection;
    private bool _isCounted;

    public TunnelRight(TunnelBudget budget, DeviceEntry.KeyWatch key, DeviceCertificates.Watch? certificate)
    {
        (_budget, _key, _certificate) = (budget, key, certificate);
        _either = certificate is null ? null : CancellationTokenSource.CreateLinkedTokenSource(key.Ended, certificate.Ended);
    }

    /// <summary>What the device has under way.</summary>
    public DeviceUse Use => _key.Use;

    /// <summary>Is cancelled when the key is revoked, and when the certificate is, where that was the proof.</summary>
    public CancellationToken Ended => _either?.Token ?? _key.Ended;

    /// <summary>Takes a place; false when the node has as many tunnels as it takes.</summary>
    public bool TryCount() => _isCounted = _budget.TryTunnel();

    /// <summary>Takes over what the tunnel's connection counts for.</summary>
    public void Take(ConnectionUse connection) => _connection = connection;

    public void Dispose()
    {
        _connection?.Dispose();
        _either?.Dispose();
        _certificate?.Dispose();
        _key.Dispose();
        if (_isCounted)
        {
            _budget.EndTunnel();
        }
    }
}
