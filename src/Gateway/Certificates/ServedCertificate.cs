using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Listeners.Tls;

namespace Gateway.Certificates;

/// <summary>A certificate that is ready for handshakes.</summary>
internal sealed class ServedCertificate
{
    private long _usedAt = Environment.TickCount64;

    private ServedCertificate(X509Certificate2 certificate, SslStreamCertificateContext context, TlsProfile profile)
    {
        Certificate = certificate;
        Names = [.. NamesOf(certificate)];
        Title = string.Join(", ", Names);
        Version = VersionOf(certificate);
        Visitors = profile.ForVisitors(context);
        Devices = profile.ForDevices(context);
    }

    public X509Certificate2 Certificate { get; }

    /// <summary>The DNS names that it is for, in lower case, wildcards with their asterisk.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Its names in one text, for people.</summary>
    public string Title { get; }

    /// <summary>The SHA-256 of the certificate, in hex.</summary>
    public string Version { get; }

    /// <summary>For handshakes of visitors.</summary>
    public SslServerAuthenticationOptions Visitors { get; }

    /// <summary>For handshakes of devices that may show a certificate of their own.</summary>
    public SslServerAuthenticationOptions Devices { get; }

    /// <summary>How long ago it was last looked up.</summary>
    public TimeSpan Idle => TimeSpan.FromMilliseconds(Environment.TickCount64 - Volatile.Read(ref _usedAt));

    /// <summary>Reads a certificate, its chain after it, and its key.</summary>
    /// <exception cref="CryptographicException">They cannot be read, or do not belong together.</exception>
    public static ServedCertificate FromPem(string chain, string key, TlsProfile profile)
    {
        X509Certificate2 pair;
        try
        {
            pair = X509Certificate2.CreateFromPem(chain, key);
        }
        catch (ArgumentException exception)
        {
            throw new CryptographicException($"The key does not belong to the certificate: {exception.Message}", exception);
        }

        using (pair)
        {
            return FromPair(pair, chain, profile);
        }
    }

    /// <summary>The names in a certificate: its alternative names, or its subject where it has none.</summary>
    public static IEnumerable<string> NamesOf(X509Certificate2 certificate)
    {
        var names = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().FirstOrDefault()?.EnumerateDnsNames()
            ?? [certificate.GetNameInfo(X509NameType.SimpleName, forIssuer: false)];
        return names.Select(static name => name.ToLowerInvariant());
    }

    /// <summary>The SHA-256 of a certificate, in hex.</summary>
    public static string VersionOf(X509Certificate2 certificate) => certificate.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>Notes that somebody asked for it.</summary>
    public void Touch() => Volatile.Write(ref _usedAt, Environment.TickCount64);

    private static ServedCertificate FromPair(X509Certificate2 pair, string chain, TlsProfile profile)
    {
        var intermediates = new X509Certificate2Collection();
        intermediates.ImportFromPem(chain);

        // The detour over PKCS #12 gives a key that the TLS library can use on every platform.
        var certificate = X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pfx), null);
        return new ServedCertificate(certificate, SslStreamCertificateContext.Create(certificate, intermediates, offline: true), profile);
    }
}
