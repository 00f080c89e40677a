using System.Security.Cryptography.X509Certificates;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>Where a device dials to, and as whom.</summary>
public sealed class DeviceTunnelOptions
{
    /// <summary>The gateway's tunnel address, e.g. <c>https://tunnel.resindevice.io</c>. <c>http</c> is for development.</summary>
    public Uri? Gateway { get; set; }

    /// <summary>The device's identity.</summary>
    public DeviceUuid Uuid { get; set; }

    /// <summary>The device's key, sent as a Bearer token (RFC 6750).</summary>
    public string Key { get; set; } = "";

    /// <summary>
    /// Gives a certificate with its key that proves who the device is, where the gateway takes them; then <see cref="Key"/> may be empty.
    /// It is asked before each attempt to dial, one at a time, so that a certificate that was renewed is shown from then on.
    /// </summary>
    public Func<X509Certificate2>? ClientCertificate { get; set; }

    /// <summary>
    /// The authorities that the gateway's certificate may come from; null or empty for those of the system.
    /// </summary>
    public X509Certificate2Collection? TrustedRoots { get; set; }

    /// <summary>
    /// How many tunnels the device keeps, to different nodes of the gateway where there are several. Default 2, so that no
    /// visitor notices when a node ends; 1 where every byte is paid for. 1 to 8.
    /// </summary>
    public int Connections { get; set; } = 2;

    /// <summary>The longest time for one attempt: name, TCP, proxy, TLS and handshake. Default 30 s.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The upper bound of the first pause between attempts; it doubles up to <see cref="MaxReconnectDelay"/>. Default 1 s.</summary>
    public TimeSpan ReconnectDelay { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The upper bound of every pause between attempts. Default 60 s.</summary>
    public TimeSpan MaxReconnectDelay { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// A gateway that has vanished without a word is noticed after this time, and another tunnel is dialled (TCP keepalive
    /// and TCP_USER_TIMEOUT). Default 60 s, at least 6 s.
    /// </summary>
    public TimeSpan DeadAfter { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>What this program calls itself to the gateway, as a <c>User-Agent</c> (RFC 9110 section 10.1.5).</summary>
    public string UserAgent { get; set; } = $"device-tunnel/{typeof(DeviceTunnelOptions).Assembly.GetName().Version?.ToString(3)}";

    /// <summary>
    /// Says in one line what is missing, naming the setting and the remedy.
    /// </summary>
    /// <returns>Null when nothing is wrong.</returns>
    public string? Validate()
    {
        if (Gateway is not { IsAbsoluteUri: true, Scheme: "https" or "http" })
        {
            return $"gateway is \"{Gateway}\": give the gateway's tunnel address, e.g. https://tunnel.resindevice.io";
        }

        if (Uuid == default)
        {
            return "uuid is missing: give the device's 32 (or 62) lower-case hex digits, as `gateway device add` prints them";
        }

        if (ClientCertificate?.Invoke() is { HasPrivateKey: false })
        {
            return "the client certificate comes without its private key: give both";
        }

        if (Key.Length == 0 && ClientCertificate is null)
        {
            return "key is missing: give the device's key, as `gateway device add` prints it once";
        }

        if (DeadAfter < TimeSpan.FromSeconds(6))
        {
            return $"dead-after is {DeadAfter}: give at least 6 s";
        }

        if (Connections is < 1 or > 8)
        {
            return $"connections is {Connections}: give 1 to 8";
        }

        return Key.AsSpan().ContainsAnyExceptInRange('\x21', '\x7e')
            ? "key has characters that no key has (blanks, line ends or others outside visible ASCII): give it as `gateway device add` printed it"
            : null;
    }
}
