using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Options;

namespace Gateway.Cluster;

/// <summary>
/// Who this node is among the others. Its inner certificate is made at start and lives as long as the process; others know
/// it by its hash, which the node's signed record holds. So both ends of a hop are sure of each other without an authority.
/// </summary>
internal sealed class NodeIdentity : IDisposable
{
    public NodeIdentity(IOptions<ClusterOptions> options, TimeProvider time)
    {
        var cluster = options.Value;
        Id = cluster.Node.Length > 0 ? cluster.Node : Environment.MachineName;
        Epoch = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8));
        Started = time.GetUtcNow();
        if (cluster.Listen.Length > 0)
        {
            Certificate = MakeCertificate(Id, Started);
            CertificateHash = HashOf(Certificate);
        }
    }

    /// <summary>This node's name.</summary>
    public string Id { get; }

    /// <summary>This start of it.</summary>
    public string Epoch { get; }

    public DateTimeOffset Started { get; }

    /// <summary>For both ends of a hop; null when this node has no inner listener.</summary>
    public X509Certificate2? Certificate { get; }

    public string? CertificateHash { get; }

    /// <summary>SHA-256 of a certificate, 64 lower-case hex digits.</summary>
    public static string HashOf(X509Certificate certificate) => Convert.ToHexStringLower(certificate.GetCertHash(HashAlgorithmName.SHA256));

    public void Dispose() => Certificate?.Dispose();

    private static X509Certificate2 MakeCertificate(string id, DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var name = new X500DistinguishedNameBuilder();
        name.AddCommonName(id.Length > 64 ? id[..64] : id);
        var request = new CertificateRequest(name.Build(), key, HashAlgorithmName.SHA256);
        using var certificate = request.CreateSelfSigned(now.AddDays(-1), now.AddYears(100));

        // The detour over PKCS #12 gives a key that the TLS library can use on every platform.
        return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pfx), null);
    }
}
