using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;

namespace Gateway.Tests.Certificates;

/// <summary>A client's TLS handshake, and what it was shown.</summary>
internal static class Handshake
{
    /// <summary>Shakes hands and hangs up.</summary>
    /// <returns>The certificate; null when the handshake failed.</returns>
    public static async Task<X509Certificate2?> TryAsync(int port, string name)
    {
        try
        {
            await using var stream = await OpenAsync(port, new SslClientAuthenticationOptions { TargetHost = name, RemoteCertificateValidationCallback = static (_, certificate, _, _) => certificate is not null });
            return X509CertificateLoader.LoadCertificate(stream.RemoteCertificate!.GetRawCertData());
        }
        catch (Exception exception) when (exception is AuthenticationException or IOException)
        {
            return null;
        }
    }

    public static async Task<SslStream> OpenAsync(int port, SslClientAuthenticationOptions options)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
        try
        {
            await stream.AuthenticateAsClientAsync(options);
            return stream;
        }
        catch
        {
            await stream.DisposeAsync();
            throw;
        }
    }

    /// <summary>Whether a certificate is for a name.</summary>
    public static bool IsFor(this X509Certificate2? certificate, string name) => certificate?.MatchesHostname(name) == true;
}

/// <summary>A connection with TLS whose bytes the test writes and reads; whatever certificate it is shown will do.</summary>
internal static class RawTls
{
    public static async Task<Harness.RawConnection> OpenAsync(int port, string name, SslClientAuthenticationOptions? options = null)
    {
        options ??= new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = static (_, certificate, _, _) => certificate is not null };
        options.TargetHost = name;
        return new Harness.RawConnection(await Handshake.OpenAsync(port, options));
    }
}
