using System.Formats.Asn1;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Gateway.Certificates.Shared;
using Gateway.Listeners.Tls;

namespace Gateway.Certificates.Acme;

/// <summary>TLS-ALPN-01 (RFC 8737): every node answers from the store in a handshake on its TLS listener.</summary>
internal sealed class TlsAlpnChallenge(ChallengeStore challenges, TimeProvider time) : IChallengeSolver
{
    private const string StoreKind = "tls-alpn";

    // RFC 8737 section 6.1.
    private static readonly Oid AcmeIdentifier = new("1.3.6.1.5.5.7.1.31");
    private static readonly List<SslApplicationProtocol> Alpn = [ClientHello.AcmeProtocol];

    public AcmeChallenge Kind => AcmeChallenge.TlsAlpn;

    public string Type => "tls-alpn-01";

    public Task PresentAsync(IReadOnlyList<ChallengeToSolve> toSolve, CancellationToken cancellationToken) =>
        Task.WhenAll(toSolve.Select(challenge => challenges.AddAsync(StoreKind, challenge.Name, challenge.KeyAuthorization)));

    public Task CleanUpAsync(IReadOnlyList<ChallengeToSolve> toSolve, CancellationToken cancellationToken) =>
        Task.WhenAll(toSolve.Select(challenge => challenges.RemoveAsync(StoreKind, challenge.Name, challenge.KeyAuthorization)));

    /// <summary>The handshake that a check wants to see; null when none is expected for this name.</summary>
    public async Task<SslServerAuthenticationOptions?> AnswerAsync(string name)
    {
        // Of two that are checked at the same time, the later one is tried again by its owner.
        if (await challenges.FindAsync(StoreKind, name.ToLowerInvariant()) is not [var keyAuthorization, ..])
        {
            return null;
        }

        return new SslServerAuthenticationOptions
        {
            ServerCertificateContext = SslStreamCertificateContext.Create(CreateCertificate(name, keyAuthorization), null, offline: true),
            ApplicationProtocols = Alpn,
        };
    }

    // RFC 8737 section 3: self-signed, for exactly this name, with the critical extension.
    private X509Certificate2 CreateCertificate(string name, string keyAuthorization)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN=ACME challenge", key, HashAlgorithmName.SHA256);
        var alternatives = new SubjectAlternativeNameBuilder();
        alternatives.AddDnsName(name);
        request.CertificateExtensions.Add(alternatives.Build());
        var writer = new AsnWriter(AsnEncodingRules.DER);
        writer.WriteOctetString(SHA256.HashData(Encoding.ASCII.GetBytes(keyAuthorization)));
        request.CertificateExtensions.Add(new X509Extension(AcmeIdentifier, writer.Encode(), critical: true));
        var now = time.GetUtcNow();
        using var certificate = request.CreateSelfSigned(now.AddDays(-1), now.AddDays(7));
        return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pfx), null);
    }
}
