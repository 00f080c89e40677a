using Gateway.Listeners;

namespace Gateway.Certificates.Dns;

/// <summary>Who publishes the TXT records of DNS-01.</summary>
internal enum DnsPublisher
{
    /// <summary>The gateway answers for <c>_acme-challenge.&lt;domain&gt;</c> itself; the name is delegated to it, once.</summary>
    Gateway,

    /// <summary>A name server that takes updates (RFC 2136), signed (RFC 8945).</summary>
    DynamicUpdate,

    /// <summary>A program of the operator's.</summary>
    Command,
}

/// <summary>How the TXT records of DNS-01 are published.</summary>
internal sealed class DnsOptions
{
    private const string Section = $"{CertificateOptions.Section}:Acme:Dns";

    /// <summary>Default <see cref="DnsPublisher.Gateway"/>.</summary>
    public DnsPublisher Publisher { get; set; } = DnsPublisher.Gateway;

    /// <summary>Where the gateway answers, UDP and TCP. Default <c>*:53</c>.</summary>
    public string Listen { get; set; } = "*:53";

    /// <summary>
    /// A zone that is delegated to the gateway, for domains whose <c>_acme-challenge</c> is a CNAME to
    /// <c>&lt;domain&gt;.&lt;zone&gt;</c>. Default empty.
    /// </summary>
    public string Zone { get; set; } = "";

    /// <summary>The name of this name server in NS and SOA records. Default empty: <c>ns.&lt;zone&gt;</c>.</summary>
    public string ServerName { get; set; } = "";

    /// <summary>The name server that takes updates: <c>host</c> or <c>host:port</c>; TCP.</summary>
    public string Server { get; set; } = "";

    /// <summary>The zone that is updated. Default empty: the domain.</summary>
    public string UpdateZone { get; set; } = "";

    /// <summary>The name of the TSIG key.</summary>
    public string TsigName { get; set; } = "";

    /// <summary>The TSIG key, base64.</summary>
    public string TsigKey { get; set; } = "";

    /// <summary>Default <c>hmac-sha256</c>; also <c>hmac-sha384</c> and <c>hmac-sha512</c>.</summary>
    public string TsigAlgorithm { get; set; } = "hmac-sha256";

    /// <summary>The program: called with <c>present</c> or <c>cleanup</c>, the record's name, and its value.</summary>
    public string Command { get; set; } = "";

    /// <summary>How long records need to reach every name server. Default 5 s; not waited for where the gateway answers itself.</summary>
    public TimeSpan PropagationDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>What is wrong; null when nothing is.</summary>
    public static string? Explain(DnsOptions options)
    {
        if (options.PropagationDelay < TimeSpan.Zero || options.PropagationDelay > TimeSpan.FromHours(1))
        {
            return $"{Section}:PropagationDelay is {options.PropagationDelay}: give 00:00:00 to 01:00:00.";
        }

        switch (options.Publisher)
        {
            case DnsPublisher.Gateway:
                if (!ListenAddress.TryParse(options.Listen, out var address) || address.EndPoint is null)
                {
                    return $"{Section}:Listen is \"{options.Listen}\": give an address and a port, e.g. \"*:53\".";
                }

                return options.Zone.Length > 0 && !ManagedNames.IsName(options.Zone, allowWildcard: false)
                    ? $"{Section}:Zone is \"{options.Zone}\": give the name of a zone, e.g. \"acme.resindevice.io\"."
                    : null;

            case DnsPublisher.DynamicUpdate:
                if (options.Server.Length == 0)
                {
                    return $"{Section}:Server is missing: give the name server that takes updates, e.g. \"ns1.resindevice.io\".";
                }

                if (!Gateway.Certificates.Dns.TsigKey.TryCreate(options, out _))
                {
                    return $"{Section}:TsigName, TsigKey and TsigAlgorithm are no key: give the name, base64, and hmac-sha256, hmac-sha384 or hmac-sha512, as tsig-keygen prints them.";
                }

                return null;

            default:
                return File.Exists(options.Command)
                    ? null
                    : $"{Section}:Command is \"{options.Command}\": give the path of a program; it is called with \"present\" or \"cleanup\", a name and a value.";
        }
    }
}
