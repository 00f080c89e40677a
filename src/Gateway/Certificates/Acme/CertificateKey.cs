using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Gateway.Certificates.Acme;

/// <summary>A new private key of a certificate, and what is made with it.</summary>
internal sealed class CertificateKey : IDisposable
{
    private readonly AsymmetricAlgorithm _key;

    public CertificateKey(CertificateKeyType type) => _key = type switch
    {
        CertificateKeyType.EcdsaP384 => ECDsa.Create(ECCurve.NamedCurves.nistP384),
        CertificateKeyType.Rsa2048 => RSA.Create(2048),
        CertificateKeyType.Rsa3072 => RSA.Create(3072),
        CertificateKeyType.Rsa4096 => RSA.Create(4096),
        _ => ECDsa.Create(ECCurve.NamedCurves.nistP256),
    };

    /// <summary>The key itself, PEM.</summary>
    public string ToPem() => _key.ExportPkcs8PrivateKeyPem();

    /// <summary>The request for a certificate (RFC 2986). The names stand in it as they do in the order (RFC 8555 section 7.4).</summary>
    /// <param name="names">DNS names and addresses.</param>
    public byte[] CreateRequest(IReadOnlyList<string> names)
    {
        var subject = new X500DistinguishedName("");
        var request = _key is ECDsa ecdsa
            ? new CertificateRequest(subject, ecdsa, HashAlgorithmName.SHA256)
            : new CertificateRequest(subject, (RSA)_key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var alternatives = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            if (IPAddress.TryParse(name, out var address))
            {
                alternatives.AddIpAddress(address);
            }
            else
            {
                alternatives.AddDnsName(name);
            }
        }

        request.CertificateExtensions.Add(alternatives.Build());
        return request.CreateSigningRequest();
    }

    public void Dispose() => _key.Dispose();
}
