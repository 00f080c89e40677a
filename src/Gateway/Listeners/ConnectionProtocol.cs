using System.Net.Security;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Gateway.Listeners;

internal static class ConnectionProtocol
{
    /// <summary>Whether the client has chosen HTTP/2 in its TLS handshake (ALPN, RFC 7301); never without TLS.</summary>
    public static bool IsHttp2(this ConnectionContext connection) =>
        connection.Features.Get<ITlsApplicationProtocolFeature>() is { } tls && tls.ApplicationProtocol.Span.SequenceEqual(SslApplicationProtocol.Http2.Protocol.Span);
}
