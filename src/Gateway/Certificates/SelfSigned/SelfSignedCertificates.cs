using System.Security.Cryptography;
using Gateway.Listeners;
using Gateway.Listeners.Tls;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.SelfSigned;

/// <summary>Serves certificates of the <see cref="LocalAuthority"/> for the base domains, made anew well before they end.</summary>
internal sealed partial class SelfSignedCertificates(
    IOptions<CertificateOptions> options, IOptions<ListenerOptions> listen, HostNames hosts, LocalAuthority authority, ServedCertificates served, TlsProfile profile,
    TimeProvider time, ILogger<SelfSignedCertificates> logger) : BackgroundService
{
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (options.Value.Source != CertificateSource.SelfSigned || listen.Value.Https.Length == 0)
        {
            return Task.CompletedTask;
        }

        try
        {
            LogRoot(logger, authority.RootFile, authority.Root.GetCertHashString(HashAlgorithmName.SHA256));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new Storage.StoreUnavailableException($"The development CA {authority.RootFile} cannot be used: {exception.Message}");
        }

        Issue();
        return base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            using var timer = new PeriodicTimer(LocalAuthority.Lifetime / 3, time);
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                Issue();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    // Clients take no wildcard right below a top-level domain (*.localhost): such a domain's devices get theirs at first use.
    private void Issue()
    {
        foreach (var (key, _) in served.List().Where(known => !hosts.Domains.Contains(known.Key, StringComparer.Ordinal)))
        {
            served.Remove(key); // one at first use: the next handshake makes it anew
        }

        for (var i = 0; i < hosts.Domains.Count; i++)
        {
            var domain = hosts.Domains[i];
            var (chain, key) = authority.Issue(domain.Contains('.', StringComparison.Ordinal) ? [domain, $"*.{domain}"] : [domain, $"tunnel.{domain}"]);
            served.Put(domain, ServedCertificate.FromPem(chain, key, profile), isDefault: i == 0);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Certificates are of this gateway's own authority, for development: trust {RootFile} (SHA-256 {Fingerprint}), e.g. curl --cacert {RootFile}")]
    private static partial void LogRoot(ILogger logger, string rootFile, string fingerprint);
}
