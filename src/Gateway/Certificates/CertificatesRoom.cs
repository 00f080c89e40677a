using Gateway.Certificates.Acme;
using Gateway.Certificates.Dns;
using Gateway.Certificates.Files;
using Gateway.Certificates.OnDemand;
using Gateway.Certificates.SelfSigned;
using Gateway.Certificates.Shared;
using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

internal static class CertificatesRoom
{
    public static void AddCertificates(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddCertificateStore();

        // What is served, and what each handshake gets of it.
        services.AddSingleton<HandshakeSelector>();
        services.AddSingleton<OnDemandNames>();
        services.AddSingleton<OnDemandCertificates>();

        // Where it comes from: files, an authority of our own, the store.
        services.AddHostedService<FileCertificates>();
        services.AddSingleton<LocalAuthority>();
        services.AddHostedService<SelfSignedCertificates>();
        services.AddSingleton<SharedCertificates>();
        services.AddHostedService(static provider => provider.GetRequiredService<SharedCertificates>());

        // Who fills the store.
        services.AddSingleton<CertificateIssuance>();
        services.AddHostedService<CertificateRenewal>();
        services.AddSingleton<DnsResponder>();
        services.AddHostedService(static provider => provider.GetRequiredService<DnsResponder>());
    }

    /// <summary>The store and the ACME client alone, for verbs of the command line too.</summary>
    public static void AddCertificateStore(this IServiceCollection services)
    {
        services.AddOptions<CertificateOptions>().BindConfiguration(CertificateOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<CertificateOptions>, CertificateOptions.Validator>();
        services.AddSingleton<ManagedNames>();
        services.AddSingleton<ServedCertificates>();
        services.AddSingleton<CertificateMetrics>();
        services.AddSingleton<KeyProtector>();
        services.AddSingleton<CertificateStore>();
        services.AddSingleton<ChallengeStore>();
        services.AddSingleton<AcmeAccounts>();
        services.AddSingleton<AcmeIssuer>();
        services.AddSingleton<HttpChallenge>();
        services.AddSingleton<TlsAlpnChallenge>();
        services.AddSingleton<IChallengeSolver>(static provider => provider.GetRequiredService<HttpChallenge>());
        services.AddSingleton<IChallengeSolver>(static provider => provider.GetRequiredService<TlsAlpnChallenge>());
        services.AddSingleton<IChallengeSolver, DnsChallenge>();
        services.AddSingleton<GatewayZones>();
        services.AddSingleton<IDnsPublisher>(static provider => provider.GetRequiredService<IOptions<CertificateOptions>>().Value.Acme.Dns.Publisher switch
        {
            DnsPublisher.DynamicUpdate => ActivatorUtilities.CreateInstance<DynamicUpdatePublisher>(provider),
            DnsPublisher.Command => ActivatorUtilities.CreateInstance<CommandPublisher>(provider),
            _ => provider.GetRequiredService<GatewayZones>(),
        });
    }

    /// <summary>ACME servers check names on the plain listener; whatever is no answer to them goes on to the device.</summary>
    public static void MapCertificates(this WebApplication app)
    {
        if (!app.Services.GetRequiredService<IOptions<CertificateOptions>>().Value.UsesAcme)
        {
            return;
        }

        var challenge = app.Services.GetRequiredService<HttpChallenge>();
        app.Use(next => async context =>
        {
            if (!await challenge.TryAnswerAsync(context))
            {
                await next(context);
            }
        });
    }
}
