using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Storage;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.SelfSigned;

/// <summary>
/// A certificate authority of this node's own, for development. Its root is made once and kept under the data folder, so
/// that who trusts it need not do so again after a restart.
/// </summary>
internal sealed class LocalAuthority(IOptions<StorageOptions> storage, TimeProvider time) : IDisposable
{
    /// <summary>How long a certificate is good for; browsers take no more than 398 days, and a short one exercises renewal.</summary>
    public static readonly TimeSpan Lifetime = TimeSpan.FromDays(30);

    private static readonly Oid ServerAuthentication = new("1.3.6.1.5.5.7.3.1");

    private readonly Lock _lock = new();
    private X509Certificate2? _root;

    /// <summary>The root's PEM file: what curl and browsers have to trust.</summary>
    public string RootFile { get; } = Path.Combine(Path.GetFullPath(storage.Value.DataDirectory), "ca", "root.crt");

    /// <summary>The root, made if there is none yet.</summary>
    /// <exception cref="IOException">The folder cannot be used.</exception>
    public X509Certificate2 Root
    {
        get
        {
            lock (_lock)
            {
                return _root ??= LoadOrCreate();
            }
        }
    }

    /// <summary>Issues a certificate.</summary>
    /// <returns>The certificate with the root after it, and its key, both PEM.</returns>
    public (string Chain, string Key) Issue(IReadOnlyList<string> names)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={names[0]}", key, HashAlgorithmName.SHA256);
        var alternatives = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            alternatives.AddDnsName(name);
        }

        request.CertificateExtensions.Add(alternatives.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([ServerAuthentication], critical: false));
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(Root, true, false));
        var now = time.GetUtcNow();
        using var certificate = request.Create(Root, now.AddHours(-1), now + Lifetime, RandomNumberGenerator.GetBytes(16));
        return ($"{certificate.ExportCertificatePem()}\n{Root.ExportCertificatePem()}\n", key.ExportPkcs8PrivateKeyPem());
    }

    public void Dispose() => _root?.Dispose();

    private X509Certificate2 LoadOrCreate()
    {
        var keyFile = Path.ChangeExtension(RootFile, ".key");
        if (File.Exists(RootFile) && File.Exists(keyFile))
        {
            return X509Certificate2.CreateFromPemFile(RootFile, keyFile);
        }

        PrivateFile.CreateFolder(Path.GetDirectoryName(RootFile)!);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN=Device gateway development CA {Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, true, 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        var now = time.GetUtcNow();
        var root = request.CreateSelfSigned(now.AddHours(-1), now.AddYears(10));

        // The key last: who finds one finds a whole pair.
        File.WriteAllText(RootFile, root.ExportCertificatePem() + "\n");
        PrivateFile.Write(keyFile, key.ExportPkcs8PrivateKeyPem());
        return root;
    }
}
