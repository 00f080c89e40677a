using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Gateway.Tests.Harness;

/// <summary>A CA of the tests' own, and a certificate for <c>localhost</c> and <c>*.gateway.localhost</c> as PEM files.</summary>
internal sealed class TestCertificates
{
    public static readonly TestCertificates Shared = new();

    private TestCertificates()
    {
        var folder = Directory.CreateTempSubdirectory("gateway-tests-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        var now = DateTimeOffset.UtcNow;
        using var caKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var caRequest = new CertificateRequest("CN=Test CA", caKey, HashAlgorithmName.SHA256);
        caRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        Authority = caRequest.CreateSelfSigned(now.AddDays(-1), now.AddDays(30));

        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddDnsName("*.gateway.localhost");
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.Create(Authority, now.AddDays(-1), now.AddDays(20), RandomNumberGenerator.GetBytes(8));

        AuthorityFile = Path.Combine(folder, "ca.pem");
        CertificateFile = Path.Combine(folder, "tls.crt");
        KeyFile = Path.Combine(folder, "tls.key");
        File.WriteAllText(AuthorityFile, Authority.ExportCertificatePem());
        File.WriteAllText(CertificateFile, certificate.ExportCertificatePem());
        File.WriteAllText(KeyFile, key.ExportPkcs8PrivateKeyPem());
    }

    public X509Certificate2 Authority { get; }

    public string AuthorityFile { get; }

    public string CertificateFile { get; }

    public string KeyFile { get; }
}
