using System.Net.Security;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Listeners.Tls;

/// <summary>A connection's feature: its client is an ACME server that checks a name by TLS-ALPN-01.</summary>
internal sealed class AcmeHelloFeature
{
    public static readonly AcmeHelloFeature Instance = new();
}

/// <summary>
/// Recognises the handshakes of TLS-ALPN-01 (RFC 8737 section 3), which the platform's callback cannot: it is not told what
/// protocols a client offers.
/// </summary>
internal static class AcmeHello
{
    public static readonly SslApplicationProtocol Protocol = new("acme-tls/1");

    // A client that wants nothing else (which RFC 8737 demands) has this extension to the byte: type 16 (RFC 7301), its length,
    // the list's length, the name's length, the name.
    private static ReadOnlySpan<byte> Extension => "\0\x10\0\x0d\0\x0b\nacme-tls/1"u8;

    /// <summary>Comes before the TLS middleware.</summary>
    public static IConnectionBuilder UseAcmeHello(this IConnectionBuilder connections) => connections.Use(static next => async connection =>
    {
        // A client that says nothing in time, or is gone, is left at that.
        if (await ClientHello.PeekAsync(connection.Transport.Input, connection.ConnectionClosed) is { } hello)
        {
            if (hello.AsSpan().IndexOf(Extension) >= 0)
            {
                connection.Features.Set(AcmeHelloFeature.Instance);
            }

            await next(connection);
        }
    });
}
