using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Gateway.Tunnels;

/// <summary>Why a certificate is believed.</summary>
/// <param name="Path">The certificate and those above it, the root apart.</param>
/// <param name="Root">The authority, by its SHA-1 as everywhere in the platform.</param>
internal sealed record CertificateProof(IReadOnlyList<CertificateNumber> Path, string Root);

/// <summary>Whose certificates devices may show, and which of these are revoked, as the two files said at one moment.</summary>
internal sealed class DeviceAuthorities
{
    private static readonly Oid ClientAuthentication = new("1.3.6.1.5.5.7.3.2");

    private readonly X509Certificate2Collection _authorities;
    private readonly FrozenSet<CertificateNumber> _revoked;
    private readonly string _version;

    private DeviceAuthorities(X509Certificate2Collection authorities, IReadOnlyList<RevocationList> lists, string version)
    {
        (_authorities, _version) = (authorities, version);
        _revoked = lists.SelectMany(static list => list.Revoked).ToFrozenSet();
        NextUpdate = lists.Min(static list => list.NextUpdate);
    }

    /// <summary>How many authorities there are.</summary>
    public int Count => _authorities.Count;

    /// <summary>How many certificates are revoked.</summary>
    public int RevokedCount => _revoked.Count;

    /// <summary>When there should be newer lists; null when none says.</summary>
    public DateTimeOffset? NextUpdate { get; }

    /// <summary>Reads the files; the paths may be empty.</summary>
    /// <param name="options">Where they are.</param>
    /// <param name="known">What was read before; it is given back while the files are the same.</param>
    /// <exception cref="CryptographicException">They cannot be used; the message names the setting, its value and the remedy.</exception>
    public static DeviceAuthorities Read(TunnelOptions options, DeviceAuthorities? known = null)
    {
        var authorities = ReadFile(nameof(options.ClientCaFile), options.ClientCaFile);
        var lists = ReadFile(nameof(options.ClientCrlFile), options.ClientCrlFile);
        var version = $"{Convert.ToHexString(SHA256.HashData(authorities))}{Convert.ToHexString(SHA256.HashData(lists))}";
        if (known?._version == version)
        {
            return known;
        }

        X509Certificate2Collection trusted = options.ClientCaFile.Length == 0 ? [] : Parse(nameof(options.ClientCaFile), options.ClientCaFile, () => ReadCertificates(authorities));
        return new DeviceAuthorities(
            trusted, options.ClientCrlFile.Length == 0 ? [] : Parse(nameof(options.ClientCrlFile), options.ClientCrlFile, () => RevocationList.ReadAll(lists, trusted)), version);
    }

    /// <summary>Whether a certificate is of one of the authorities, good at a time, and for clients; null when it is not.</summary>
    public CertificateProof? Prove(X509Certificate2 certificate, DateTimeOffset now)
    {
        using var chain = new X509Chain
        {
            ChainPolicy =
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck, // the lists are looked at by the caller: the platform takes none from files
                DisableCertificateDownloads = true,
                VerificationTime = now.LocalDateTime,
            },
        };
        chain.ChainPolicy.ApplicationPolicy.Add(ClientAuthentication);
        chain.ChainPolicy.CustomTrustStore.AddRange(_authorities);
        return chain.Build(certificate)
            ? new CertificateProof([.. chain.ChainElements.SkipLast(1).Select(static element => CertificateNumber.Of(element.Certificate))], chain.ChainElements[^1].Certificate.Thumbprint)
            : null;
    }

    /// <summary>Whether a certificate, or one above it, is revoked.</summary>
    public bool IsRevoked(CertificateProof proof) => proof.Path.Any(_revoked.Contains);

    /// <summary>Whether the authority that a proof ends at is still one.</summary>
    public bool IsTrusted(CertificateProof proof) => _authorities.Any(authority => authority.Thumbprint == proof.Root);

    private static X509Certificate2Collection ReadCertificates(byte[] pem)
    {
        var certificates = new X509Certificate2Collection();
        certificates.ImportFromPem(Encoding.UTF8.GetString(pem));
        return certificates.Count > 0 ? certificates : throw new CryptographicException("it holds no certificate: give PEM");
    }

    private static byte[] ReadFile(string key, string path)
    {
        try
        {
            return path.Length == 0 ? [] : File.ReadAllBytes(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CryptographicException($"{TunnelOptions.Section}:{key} is \"{path}\": it cannot be read ({exception.Message.TrimEnd('.')}).", exception);
        }
    }

    private static T Parse<T>(string key, string path, Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (CryptographicException exception)
        {
            throw new CryptographicException($"{TunnelOptions.Section}:{key} is \"{path}\": {exception.Message.TrimEnd('.')}.", exception);
        }
    }
}
