using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Bench.Processes;

namespace Bench.Peers;

/// <summary>An authority of this run, and certificates of it: ECDSA on P-256.</summary>
internal sealed class Certificates
{
    private readonly Stage _stage;
    private readonly X509Certificate2 _authority;
    private readonly DateTimeOffset _from = DateTimeOffset.UtcNow.AddHours(-1);
    private readonly DateTimeOffset _until = DateTimeOffset.UtcNow.AddDays(2);

    public Certificates(Stage stage)
    {
        _stage = stage;
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=bench", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        _authority = request.CreateSelfSigned(_from, _until);
        AuthorityFile = stage.Write("ca.pem", _authority.ExportCertificatePem() + "\n");
    }

    public string AuthorityFile { get; }

    /// <summary>Makes a certificate.</summary>
    /// <returns>The PEM files of certificate and key.</returns>
    public (string Certificate, string Key) Issue(string name, params string[] hosts)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        foreach (var host in hosts.DefaultIfEmpty(name))
        {
            if (IPAddress.TryParse(host, out var address))
            {
                names.AddIpAddress(address);
            }
            else
            {
                names.AddDnsName(host);
            }
        }

        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1"), new Oid("1.3.6.1.5.5.7.3.2")], false)); // server and client (RFC 5280 section 4.2.1.12)
        using var certificate = request.Create(_authority, _from, _until, RandomNumberGenerator.GetBytes(8));
        return (_stage.Write($"{name}.crt", certificate.ExportCertificatePem() + "\n"), _stage.Write($"{name}.key", key.ExportPkcs8PrivateKeyPem() + "\n"));
    }
}
