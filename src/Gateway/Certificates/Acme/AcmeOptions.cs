using System.Globalization;
using Gateway.Certificates.Dns;

namespace Gateway.Certificates.Acme;

/// <summary>How the gateway shows that a name is its own (RFC 8555 section 8, RFC 8737).</summary>
internal enum AcmeChallenge
{
    /// <summary>DNS-01, a TXT record. The only one for wildcards.</summary>
    Dns,

    /// <summary>HTTP-01, an answer on port 80.</summary>
    Http,

    /// <summary>TLS-ALPN-01, a handshake on port 443.</summary>
    TlsAlpn,
}

/// <summary>The private key of a certificate.</summary>
internal enum CertificateKeyType
{
    /// <summary>ECDSA on P-256: small, fast, and known to every client of the last ten years.</summary>
    EcdsaP256,

    /// <summary>ECDSA on P-384.</summary>
    EcdsaP384,

    /// <summary>RSA with 2048 bits, for clients that know nothing else: a handshake costs the gateway several times as much.</summary>
    Rsa2048,

    /// <summary>RSA with 3072 bits.</summary>
    Rsa3072,

    /// <summary>RSA with 4096 bits.</summary>
    Rsa4096,
}

/// <summary>An ACME server.</summary>
internal sealed class AcmeDirectoryOptions
{
    /// <summary>The address of its directory, e.g. <c>https://acme-v02.api.letsencrypt.org/directory</c>.</summary>
    public string Url { get; set; } = "";

    /// <summary>External account binding (RFC 8555 section 7.3.4): the key's identifier, from the authority. Empty where it asks for none.</summary>
    public string KeyId { get; set; } = "";

    /// <summary>External account binding: the key, base64url, from the authority.</summary>
    public string MacKey { get; set; } = "";

    /// <summary>The profile to order, e.g. <c>shortlived</c>. Empty for the server's own choice.</summary>
    public string Profile { get; set; } = "";
}

/// <summary>How certificates are ordered.</summary>
internal sealed class AcmeOptions
{
    private const string Section = $"{CertificateOptions.Section}:Acme";

    /// <summary>The servers; when one fails the next is asked. Default: Let's Encrypt.</summary>
    public IList<AcmeDirectoryOptions> Directories { get; } = [];

    /// <summary>Where the authority may write to. Optional.</summary>
    public string Email { get; set; } = "";

    /// <summary>Whether the operator agrees to the authority's terms of service; without it there is no account.</summary>
    public bool AcceptTerms { get; set; }

    /// <summary>Default <see cref="AcmeChallenge.Dns"/>.</summary>
    public AcmeChallenge Challenge { get; set; } = AcmeChallenge.Dns;

    /// <summary>The names of the one certificate. Default: what the base domains need, each in a certificate of its own.</summary>
    public IList<string> Names { get; } = [];

    /// <summary>The private key of a certificate, from its next order on. Default <see cref="CertificateKeyType.EcdsaP256"/>.</summary>
    public CertificateKeyType KeyType { get; set; } = CertificateKeyType.EcdsaP256;

    /// <summary>The age at which a certificate is replaced. Default 0: what the server suggests (RFC 9773), or two thirds of its lifetime.</summary>
    public TimeSpan RenewAfter { get; set; }

    /// <summary>How often the store is looked at for work, and for certificates whose announcement was missed. Default 5 s.</summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The pause after a failure; it doubles with each further one. Default 1 min.</summary>
    public TimeSpan RetryDelay { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>The longest pause after failures, unless the server asks for more. Default 6 h.</summary>
    public TimeSpan MaxRetryDelay { get; set; } = TimeSpan.FromHours(6);

    /// <summary>The longest wait for one answer of the server. Default 30 s.</summary>
    public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The longest time for one order. Default 5 min.</summary>
    public TimeSpan OrderTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>A PEM file with the roots of the server's own certificate, where the system does not know them.</summary>
    public string CaFile { get; set; } = "";

    /// <summary>How TXT records are published.</summary>
    public DnsOptions Dns { get; set; } = new();

    /// <summary>The servers, the default one filled in.</summary>
    internal IReadOnlyList<AcmeDirectoryOptions> EffectiveDirectories =>
        Directories.Count > 0 ? [.. Directories] : [new AcmeDirectoryOptions { Url = "https://acme-v02.api.letsencrypt.org/directory" }];

    /// <summary>What is wrong; null when nothing is.</summary>
    public static string? Explain(AcmeOptions options)
    {
        if (!options.AcceptTerms)
        {
            return $"{Section}:AcceptTerms is false: read the terms of service of {string.Join(", ", options.EffectiveDirectories.Select(static directory => directory.Url))} and set it to true if you agree; no authority gives an account without.";
        }

        for (var i = 0; i < options.Directories.Count; i++)
        {
            var directory = options.Directories[i];
            if (!Uri.TryCreate(directory.Url, UriKind.Absolute, out var uri) || uri.Scheme != "https")
            {
                return $"{Section}:Directories:{i}:Url is \"{directory.Url}\": give an https address, e.g. \"https://acme-v02.api.letsencrypt.org/directory\".";
            }

            if (directory.KeyId.Length > 0 != directory.MacKey.Length > 0 || !System.Buffers.Text.Base64Url.IsValid(directory.MacKey))
            {
                return $"{Section}:Directories:{i}: give KeyId and MacKey (base64url) together, as the authority shows them, or neither.";
            }
        }

        for (var i = 0; i < options.Names.Count; i++)
        {
            var name = options.Names[i];
            if (!ManagedNames.IsName(name, allowWildcard: true))
            {
                return $"{Section}:Names:{i} is \"{name}\": give a domain name, e.g. \"resindevice.io\" or \"*.resindevice.io\".";
            }

            if (name.StartsWith("*.", StringComparison.Ordinal) && options.Challenge != AcmeChallenge.Dns)
            {
                return $"{Section}:Names:{i} is \"{name}\", and {Section}:Challenge is {options.Challenge}: wildcards are only issued by Dns.";
            }
        }

        if (options.Email.Length > 0 && !options.Email.Contains('@', StringComparison.Ordinal))
        {
            return $"{Section}:Email is \"{options.Email}\": give a mail address, or nothing.";
        }

        if (options.CaFile.Length > 0 && !File.Exists(options.CaFile))
        {
            return $"{Section}:CaFile is \"{options.CaFile}\": there is no such file, or it may not be read.";
        }

        if (options.RenewAfter < TimeSpan.Zero)
        {
            return $"{Section}:RenewAfter is {options.RenewAfter}: give an age, or 00:00:00 for what the server suggests.";
        }

        foreach (var (key, value, least) in new[]
        {
            ("PollInterval", options.PollInterval, 0.1), ("RetryDelay", options.RetryDelay, 0.1), ("MaxRetryDelay", options.MaxRetryDelay, 0.1),
            ("RequestTimeout", options.RequestTimeout, 0.1), ("OrderTimeout", options.OrderTimeout, 1),
        })
        {
            if (value < TimeSpan.FromSeconds(least) || value > TimeSpan.FromDays(1))
            {
                return string.Create(CultureInfo.InvariantCulture, $"{Section}:{key} is {value}: give {TimeSpan.FromSeconds(least)} to 1.00:00:00.");
            }
        }

        return options.Challenge == AcmeChallenge.Dns ? DnsOptions.Explain(options.Dns) : null;
    }
}
