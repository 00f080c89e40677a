namespace Tunnel.Protocol;

/// <summary>
/// The words that both halves share. The wire is described in docs/protocol.md: an HTTP/1.1 upgrade to
/// <c>ptth</c> (draft-kazuho-ptth-ptth), after which the roles are swapped on the same connection and the
/// device is the HTTP/2 server (RFC 9113).
/// </summary>
public static class TunnelProtocol
{
    /// <summary>The upgrade token of the handshake.</summary>
    public const string UpgradeToken = "ptth";

    /// <summary>The field that names the protocol spoken after the handshake.</summary>
    public const string AlpnHeader = "ALPN";

    /// <summary>The only value of <see cref="AlpnHeader"/>: HTTP/2.</summary>
    public const string AlpnHttp2 = "h2";

    /// <summary>The response field in which a gateway names its node.</summary>
    public const string NodeHeader = "Gateway-Node";

    /// <summary>The request field in which a device names the nodes to which it has a tunnel already, separated by commas.</summary>
    public const string AvoidHeader = "Gateway-Avoid";

    /// <summary>The control request (<c>POST</c>) by which a gateway asks a device to dial another node first, and then to let this tunnel go.</summary>
    public const string DrainPath = "/drain";

    /// <summary>
    /// The authority of control requests. ".invalid" (RFC 6761) can be no visitor's host, and the gateway
    /// forwards visitors only with a device's host, so no visitor's request can carry it.
    /// </summary>
    public const string ControlAuthority = "agent.invalid";

    /// <summary>The member of <c>Proxy-Status</c> (RFC 9209) by which an agent marks an answer that is its own and not the application's.</summary>
    public const string AgentProxyName = "gateway-agent";

    /// <summary>The request path of a device's tunnel.</summary>
    public static string PathOf(DeviceUuid uuid) => $"/v1/devices/{uuid}/tunnel";
}
