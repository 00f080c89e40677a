namespace Tunnel.Protocol.GatewaySide;

/// <summary>How the gateway speaks HTTP/2 through a tunnel.</summary>
public sealed class TunnelClientOptions
{
    /// <summary>Silence, while requests are in flight, after which the gateway sends a PING (RFC 9113 section 6.7). Default 2 s, at least 1 s.</summary>
    public TimeSpan PingDelay { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>The longest wait for the answer to a PING; after it the tunnel is dead. Default 3 s, at least 1 s.</summary>
    public TimeSpan PingTimeout { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// Bytes that one response may have under way before its visitor has read them (RFC 9113 section 5.2): the most
    /// that a slow visitor costs in memory. Default 1 MiB, 64 KiB to 16 MiB.
    /// </summary>
    public int StreamWindow { get; set; } = 1024 * 1024;

    /// <summary>The largest head of a response that is accepted from a device, in KiB. Default 64.</summary>
    public int MaxResponseHeadersKib { get; set; } = 64;
}
