using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Tls;

/// <summary>Makes what a handshake needs of a certificate, once for all of its handshakes.</summary>
/// <remarks>
/// The platform keeps OpenSSL's context, and in it the sessions that clients may resume, with the certificate's context. It
/// does so only while no cipher suites of our own are named: its own list has forward secrecy in every suite.
/// </remarks>
internal sealed class TlsProfile(IOptions<TlsOptions> options)
{
    private static readonly List<SslApplicationProtocol> Alpn = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11];

    /// <summary>For visitors, who show no certificate.</summary>
    public SslServerAuthenticationOptions ForVisitors(SslStreamCertificateContext certificate) => new()
    {
        ServerCertificateContext = certificate,
        ApplicationProtocols = Alpn,
        EnabledSslProtocols = options.Value.Protocols,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        AllowRenegotiation = false,
    };

    /// <summary>For devices, who may show one.</summary>
    public SslServerAuthenticationOptions ForDevices(SslStreamCertificateContext certificate)
    {
        var tls = ForVisitors(certificate);
        tls.ClientCertificateRequired = true;
#pragma warning disable CA5359 // Whether it proves anything is judged where devices are authenticated, which can say what is wrong with it.
        tls.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
#pragma warning restore CA5359
        return tls;
    }
}
