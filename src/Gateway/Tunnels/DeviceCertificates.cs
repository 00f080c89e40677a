using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Tunnels;

/// <summary>
/// Mutual TLS: a device may prove who it is by a certificate of the operator's own authority, in place of its key. Its subject's
/// common name, or one of its DNS names, is the device's uuid.
/// </summary>
internal sealed class DeviceCertificates
{
    private static readonly System.Security.Cryptography.Oid ClientAuthentication = new("1.3.6.1.5.5.7.3.2");

    private readonly X509Certificate2Collection _roots = [];

    public DeviceCertificates(IOptions<TunnelOptions> options)
    {
        if (options.Value.ClientCaFile.Length > 0)
        {
            _roots.ImportFromPemFile(options.Value.ClientCaFile);
        }
    }

    /// <summary>Whether devices are asked for one.</summary>
    public bool AreAccepted => _roots.Count > 0;

    /// <summary>Whether a certificate proves that its owner is the device.</summary>
    /// <param name="certificate">What was shown in the handshake, where its key was proven; null for nothing.</param>
    /// <param name="uuid">Who the owner says to be.</param>
    /// <param name="now">The time.</param>
    public bool Prove(X509Certificate2? certificate, DeviceUuid uuid, DateTimeOffset now)
    {
        if (certificate is null || !AreAccepted || !Names(certificate).Contains(uuid.ToString(), StringComparer.OrdinalIgnoreCase))
        {
            return false;
        }

        using var chain = new X509Chain
        {
            ChainPolicy =
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                DisableCertificateDownloads = true,
                VerificationTime = now.LocalDateTime,
            },
        };
        chain.ChainPolicy.ApplicationPolicy.Add(ClientAuthentication);
        chain.ChainPolicy.CustomTrustStore.AddRange(_roots);
        return chain.Build(certificate);
    }

    private static IEnumerable<string> Names(X509Certificate2 certificate) =>
        (certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().FirstOrDefault()?.EnumerateDnsNames() ?? [])
            .Append(certificate.GetNameInfo(X509NameType.SimpleName, forIssuer: false));
}
