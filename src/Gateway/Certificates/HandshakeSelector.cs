using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Security.Authentication;
using Gateway.Certificates.Acme;
using Gateway.Certificates.OnDemand;
using Gateway.Listeners;
using Gateway.Listeners.Tls;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace Gateway.Certificates;

/// <summary>What each TLS handshake gets. As a rule that is known: two look-ups by name, nothing made, nobody asked.</summary>
internal sealed class HandshakeSelector(ServedCertificates served, OnDemandCertificates onDemand, TlsAlpnChallenge challenge, HostNames hosts, DeviceCertificates deviceCertificates)
{
    private static readonly IdnMapping Idn = new();

    /// <summary>Answers the handshake of a server's connection.</summary>
    /// <exception cref="AuthenticationException">There is no certificate for it; the handshake fails.</exception>
    public ValueTask<SslServerAuthenticationOptions> SelectAsync(TlsHandshakeCallbackContext context) =>
        context.Connection.Features.Get<AcmeHelloFeature>() is null
            ? SelectAsync(context.ClientHelloInfo, (context.Connection.RemoteEndPoint as IPEndPoint)?.Address, context.CancellationToken)
            : AnswerChallengeAsync(NameOf(context.ClientHelloInfo));

    /// <summary>Answers a handshake.</summary>
    /// <exception cref="AuthenticationException">There is no certificate for it; the handshake fails.</exception>
    public ValueTask<SslServerAuthenticationOptions> SelectAsync(SslClientHelloInfo hello, IPAddress? client, CancellationToken cancellationToken)
    {
        var name = NameOf(hello);
        if (served.TryFind(name, out var certificate))
        {
            return ValueTask.FromResult(OptionsOf(certificate, name));
        }

        return name.Length > 0 && onDemand.MayHave(name)
            ? GetOnDemandAsync(name, client, cancellationToken)
            : ValueTask.FromResult(Default(name));
    }

    private async ValueTask<SslServerAuthenticationOptions> AnswerChallengeAsync(string name) =>
        await challenge.AnswerAsync(name) ?? throw new AuthenticationException($"No check of \"{name}\" by TLS-ALPN-01 is expected.");

    private async ValueTask<SslServerAuthenticationOptions> GetOnDemandAsync(string name, IPAddress? client, CancellationToken cancellationToken) =>
        await onDemand.GetAsync(name, client, cancellationToken) is { } certificate ? OptionsOf(certificate, name) : Default(name);

    private SslServerAuthenticationOptions Default(string name) =>
        served.Default is { } certificate ? OptionsOf(certificate, name) : throw new AuthenticationException($"There is no certificate for \"{name}\" yet.");

    private SslServerAuthenticationOptions OptionsOf(ServedCertificate certificate, string name)
    {
        certificate.Touch();
        return deviceCertificates.AreAccepted && hosts.IsTunnel(name) ? certificate.Devices : certificate.Visitors;
    }

    // The platform shows names in Unicode; certificates have them as the DNS does.
    private static string NameOf(SslClientHelloInfo hello)
    {
        try
        {
            return System.Text.Ascii.IsValid(hello.ServerName) ? hello.ServerName : Idn.GetAscii(hello.ServerName);
        }
        catch (ArgumentException)
        {
            return "";
        }
    }
}
