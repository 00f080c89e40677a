using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Certificates.Acme;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Shared;

/// <summary>Has a certificate ordered by one node, however many want it, and plans its successor.</summary>
internal sealed partial class CertificateIssuance(
    CertificateStore store, AcmeIssuer issuer, IOptions<CertificateOptions> options, TimeProvider time, ILogger<CertificateIssuance> logger)
{
    private const double RenewAtAge = 2.0 / 3.0;
    private const double Jitter = 0.05;

    // How long a suggested time of renewal may be relied on (RFC 9773 section 4.3.2).
    private static readonly TimeSpan LeastTrust = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan MostTrust = TimeSpan.FromDays(1);
    private static readonly TimeSpan UsualTrust = TimeSpan.FromHours(6);

    // The longest that rate limits of public authorities last.
    private static readonly TimeSpan MostPatience = TimeSpan.FromDays(7);

    private readonly AcmeOptions _acme = options.Value.Acme;

    /// <summary>Orders a certificate if it is missing or due, and nobody else does so.</summary>
    /// <param name="name">What it is kept under.</param>
    /// <param name="names">What it is for.</param>
    /// <param name="challenge">How the names are shown to be ours.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <returns>False when another node is at it, or the last failure is too recent, or it failed.</returns>
    public async Task<bool> TryRenewAsync(string name, IReadOnlyList<string> names, AcmeChallenge challenge, CancellationToken cancellationToken)
    {
        await using var lease = await store.TryLeaseAsync(name, cancellationToken);
        if (lease is null)
        {
            return false;
        }

        // The one who had the lease before may have done the work.
        var current = await FindUsableAsync(name);
        var failure = await store.FindFailureAsync(name);
        if (failure is not null && IsTooRecent(failure))
        {
            return false;
        }

        try
        {
            if (current is not null && IsFor(current, names) && !await IsDueAsync(current, lease.Lost))
            {
                return true;
            }

            LogOrdering(logger, name);
            var issued = await issuer.IssueAsync(names, challenge, current, lease.Lost);
            await KeepAsync(name, issued, failure);
            return true;
        }
        catch (AcmeException exception)
        {
            await FailAsync(name, failure, exception);
            return false;
        }
    }

    private async Task<StoredCertificate?> FindUsableAsync(string name)
    {
        try
        {
            return await store.FindAsync(name);
        }
        catch (UnusableCertificateException)
        {
            return null; // who serves it has said so
        }
    }

    // A clock that was set back does not keep a name waiting for years.
    private bool IsTooRecent(IssuanceFailure failure)
    {
        var now = time.GetUtcNow();
        return now < failure.Until && now >= failure.At;
    }

    /// <summary>Whether a certificate is for all of some names.</summary>
    public static bool IsFor(StoredCertificate stored, IReadOnlyList<string> names)
    {
        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        return !names.Except(ServedCertificate.NamesOf(certificate), StringComparer.OrdinalIgnoreCase).Any(static name => !System.Net.IPAddress.TryParse(name, out _));
    }

    // Due by the plan, or by what the server suggests now.
    private async Task<bool> IsDueAsync(StoredCertificate current, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        if (current.RenewAt <= now)
        {
            return true;
        }

        var (renewAt, checkAt) = await PlanAsync(current, cancellationToken);
        if (renewAt <= now)
        {
            LogSuggested(logger, current.Name, current.Directory);
            return true;
        }

        await store.PlanAsync(current.Name, renewAt, checkAt);
        return false;
    }

    /// <summary>When a certificate is to be replaced, and looked at next.</summary>
    private async Task<(DateTimeOffset RenewAt, DateTimeOffset CheckAt)> PlanAsync(StoredCertificate stored, CancellationToken cancellationToken)
    {
        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        var from = certificate.Begin;
        var until = certificate.End;
        var now = time.GetUtcNow();
        if (_acme.RenewAfter > TimeSpan.Zero)
        {
            // From now, and not from its beginning: authorities date that back.
            var planned = stored.RenewAt > from && stored.RenewAt < until ? stored.RenewAt : now + _acme.RenewAfter;
            return (planned, planned);
        }

        try
        {
            if (await issuer.GetRenewalInfoAsync(stored, cancellationToken) is var (window, retryAfter))
            {
                // RFC 9773 section 4.2: a random time within the window, kept while the window holds it.
                var renewAt = stored.RenewAt >= window.Start && stored.RenewAt <= window.End ? stored.RenewAt : window.Start + ((window.End - window.Start) * Random.Shared.NextDouble());
                var trust = retryAfter ?? UsualTrust;
                trust = trust < LeastTrust ? LeastTrust : trust > MostTrust ? MostTrust : trust;
                return (renewAt, renewAt < now + trust ? renewAt : now + trust);
            }
        }
        catch (AcmeException exception)
        {
            // RFC 9773 section 4.3.3: the certificate's own lifetime decides then.
            LogNoSuggestion(logger, stored.Name, exception.Message);
        }

        var renewal = stored.RenewAt > from && stored.RenewAt < until ? stored.RenewAt : from + ((until - from) * (RenewAtAge + (((Random.Shared.NextDouble() * 2) - 1) * Jitter)));
        return (renewal, renewal < now + UsualTrust ? renewal : now + UsualTrust);
    }

    private async Task KeepAsync(string name, IssuedCertificate issued, IssuanceFailure? failure)
    {
        using var certificate = X509Certificate2.CreateFromPem(issued.Chain);
        var stored = new StoredCertificate(name, issued.Chain, issued.Key, issued.Directory, ServedCertificate.VersionOf(certificate), DateTimeOffset.MinValue);

        // It is kept before anything else is asked: nothing may lose it now.
        var now = time.GetUtcNow();
        await store.SaveAsync(stored with { RenewAt = certificate.End }, now + LeastTrust);
        LogIssued(logger, name, issued.Directory, certificate.End);

        var (renewAt, checkAt) = await PlanAsync(stored, CancellationToken.None);
        if (renewAt <= now)
        {
            // It would be ordered again at once, and again: something is wrong with one of the two clocks.
            var reason = $"The certificate of {name} from {issued.Directory} is good from {certificate.Begin:u} to {certificate.End:u} and would have to be renewed at {renewAt:u}, but here it is {now:u}: check this machine's clock.";
            LogClock(logger, reason);
            var next = Backoff(failure, null);
            await store.FailAsync(name, new IssuanceFailure((failure?.Count ?? 0) + 1, now, now + next, reason));
            return;
        }

        await store.PlanAsync(name, renewAt, checkAt);
    }

    private async Task FailAsync(string name, IssuanceFailure? before, AcmeException exception)
    {
        var now = time.GetUtcNow();
        var pause = Backoff(before, exception.RetryAfter);
        await store.FailAsync(name, new IssuanceFailure((before?.Count ?? 0) + 1, now, now + pause, exception.Message));
        LogFailed(logger, name, (before?.Count ?? 0) + 1, TimeSpan.FromSeconds(Math.Ceiling(pause.TotalSeconds)), exception.Message);
    }

    // Doubling, with a random part so that many names do not come back together, and never before the server wants it, if that is
    // within reason.
    private TimeSpan Backoff(IssuanceFailure? before, TimeSpan? asked)
    {
        var pause = _acme.RetryDelay * Math.Pow(2, Math.Min(before?.Count ?? 0, 20));
        pause = (pause < _acme.MaxRetryDelay ? pause : _acme.MaxRetryDelay) * (0.75 + (RandomNumberGenerator.GetInt32(500) / 1000.0));
        return asked > pause ? (asked < MostPatience ? asked.Value : MostPatience) : pause;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Ordering the certificate of {Name}")]
    private static partial void LogOrdering(ILogger logger, string name);

    [LoggerMessage(Level = LogLevel.Information, Message = "Certificate of {Name} issued by {Directory}, good until {NotAfter:u}")]
    private static partial void LogIssued(ILogger logger, string name, string directory, DateTimeOffset notAfter);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Directory} suggests to renew the certificate of {Name} now")]
    private static partial void LogSuggested(ILogger logger, string name, string directory);

    [LoggerMessage(Level = LogLevel.Warning, Message = "No suggestion when to renew the certificate of {Name}; its lifetime decides: {Reason}")]
    private static partial void LogNoSuggestion(ILogger logger, string name, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}")]
    private static partial void LogClock(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "No certificate for {Name}, attempt {Count}; next one in {Pause}: {Reason}")]
    private static partial void LogFailed(ILogger logger, string name, int count, TimeSpan pause, string reason);
}
