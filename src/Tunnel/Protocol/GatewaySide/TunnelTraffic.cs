namespace Tunnel.Protocol.GatewaySide;

/// <summary>Counts the bytes of all tunnels that were given it; safe for many at once.</summary>
public sealed class TunnelTraffic
{
    private long _received;
    private long _sent;

    /// <summary>Bytes from devices, HTTP/2's own among them.</summary>
    public long Received => Interlocked.Read(ref _received);

    /// <summary>Bytes to devices.</summary>
    public long Sent => Interlocked.Read(ref _sent);

    internal void AddReceived(int bytes) => Interlocked.Add(ref _received, bytes);

    internal void AddSent(int bytes) => Interlocked.Add(ref _sent, bytes);
}
