using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Gateway.Tests.Certificates;

/// <summary>An authority of the test's own that issues whatever a test needs.</summary>
internal sealed class TestPki : IDisposable
{
    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);

    public TestPki()
    {
        var request = new CertificateRequest("CN=The test's authority", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        Root = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(30));
    }

    public X509Certificate2 Root { get; }

    /// <summary>Issues a certificate; both parts are PEM.</summary>
    /// <param name="names">Its DNS names; the first is its subject's common name, too.</param>
    /// <param name="usage">The extended key usage; null for none.</param>
    /// <param name="ends">When it ends.</param>
    public (string Certificate, string Key) Issue(IReadOnlyList<string> names, string? usage = null, DateTimeOffset? ends = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={names[0]}", key, HashAlgorithmName.SHA256);
        var alternatives = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            alternatives.AddDnsName(name);
        }

        request.CertificateExtensions.Add(alternatives.Build());
        if (usage is not null)
        {
            request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(usage)], critical: false));
        }

        using var certificate = request.Create(Root, DateTimeOffset.UtcNow.AddDays(-1), ends ?? DateTimeOffset.UtcNow.AddDays(20), RandomNumberGenerator.GetBytes(8));
        return (certificate.ExportCertificatePem(), key.ExportPkcs8PrivateKeyPem());
    }

    /// <summary>A list of what is revoked, PEM.</summary>
    /// <param name="certificates">What is revoked, PEM.</param>
    /// <param name="nextUpdate">When there should be a newer list.</param>
    public string Revoke(IEnumerable<string> certificates, DateTimeOffset? nextUpdate = null)
    {
        var list = new CertificateRevocationListBuilder();
        foreach (var pem in certificates)
        {
            using var certificate = X509Certificate2.CreateFromPem(pem);
            list.AddEntry(certificate, reason: X509RevocationReason.KeyCompromise);
        }

        var now = DateTimeOffset.UtcNow;
        return new string(PemEncoding.Write("X509 CRL", list.Build(Root, 1, nextUpdate ?? now.AddDays(7), HashAlgorithmName.SHA256, thisUpdate: now.AddDays(-2))));
    }

    public void Dispose()
    {
        Root.Dispose();
        _key.Dispose();
    }
}
