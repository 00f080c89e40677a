using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Certificates.Dns;
using Gateway.Certificates.Shared;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Acme;

/// <summary>A certificate that a server has just issued.</summary>
/// <param name="Chain">PEM: the certificate, its chain after it.</param>
/// <param name="Key">PEM: its private key.</param>
/// <param name="Directory">The server.</param>
internal sealed record IssuedCertificate(string Chain, string Key, string Directory);

/// <summary>
/// Orders certificates: account, order, challenges, certificate. The directories are asked in their order; one that has
/// just failed, or asks to be left alone, is asked last.
/// </summary>
internal sealed partial class AcmeIssuer(
    IOptions<CertificateOptions> options, AcmeAccounts accounts, IEnumerable<IChallengeSolver> solvers, CertificateMetrics metrics, TimeProvider time, ILogger<AcmeIssuer> logger)
{
    private readonly AcmeOptions _options = options.Value.Acme;
    private readonly Dictionary<string, DateTimeOffset> _restUntil = new(StringComparer.Ordinal);

    /// <summary>Orders a certificate.</summary>
    /// <param name="names">What it is for.</param>
    /// <param name="challenge">How the names are shown to be ours.</param>
    /// <param name="replaces">The certificate in whose place it comes; null for none.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="AcmeException">No directory has issued; the message has a sentence for each.</exception>
    public async Task<IssuedCertificate> IssueAsync(IReadOnlyList<string> names, AcmeChallenge challenge, StoredCertificate? replaces, CancellationToken cancellationToken)
    {
        var failures = new List<AcmeException>();
        foreach (var directory in InOrder())
        {
            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            timeout.CancelAfter(_options.OrderTimeout);
            var started = time.GetTimestamp();
            try
            {
                var issued = await IssueAsync(directory, names, challenge, replaces, timeout.Token);
                lock (_restUntil)
                {
                    _restUntil.Remove(directory.Url);
                }

                metrics.Ordered(directory.Url, null, time.GetElapsedTime(started));
                return issued;
            }
            catch (Exception exception) when (exception is AcmeException or DnsPublishException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
            {
                var failure = exception switch
                {
                    AcmeException acme => acme,
                    DnsPublishException dns => new AcmeException("dns", dns.Message, inner: dns),
                    _ => new AcmeException(AcmeException.Slow, $"{directory.Url} did not issue within {_options.OrderTimeout}.", inner: exception),
                };
                metrics.Ordered(directory.Url, failure.Type, time.GetElapsedTime(started));
                lock (_restUntil)
                {
                    _restUntil[directory.Url] = time.GetUtcNow() + (failure.RetryAfter ?? _options.RetryDelay);
                }

                failures.Add(failure);
                LogDirectoryFailed(logger, directory.Url, string.Join(", ", names), failure.Type, failure.Message);
            }
        }

        // The shortest that helps: one directory is enough.
        var retryAfter = failures.All(static failure => failure.RetryAfter is not null) ? failures.Min(static failure => failure.RetryAfter) : null;
        throw new AcmeException(failures[0].Type, string.Join(" ", failures.Select(static failure => failure.Message)), retryAfter, failures[0]);
    }

    /// <summary>When the server that issued a certificate suggests to renew it; null when it makes no suggestion.</summary>
    /// <exception cref="AcmeException">It cannot be asked.</exception>
    public async Task<(AcmeWindow Window, TimeSpan? RetryAfter)?> GetRenewalInfoAsync(StoredCertificate stored, CancellationToken cancellationToken)
    {
        if (_options.EffectiveDirectories.FirstOrDefault(known => known.Url == stored.Directory) is not { } directory)
        {
            return null;
        }

        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        using var client = accounts.CreateStranger(directory);
        return await client.GetRenewalInfoAsync(certificate, cancellationToken);
    }

    /// <summary>Revokes a certificate at the server that issued it.</summary>
    /// <exception cref="AcmeException">It does not.</exception>
    public async Task RevokeAsync(StoredCertificate stored, int reason, CancellationToken cancellationToken)
    {
        var directory = _options.EffectiveDirectories.FirstOrDefault(known => known.Url == stored.Directory)
            ?? throw new AcmeException("unknownDirectory", $"The certificate of {stored.Name} is from {stored.Directory}, which is none of Certificates:Acme:Directories: add it there.");
        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        await accounts.ActAsync(directory, async client =>
        {
            await client.RevokeAsync(certificate, reason, cancellationToken);
            return true;
        }, cancellationToken);
    }

    private IReadOnlyList<AcmeDirectoryOptions> InOrder()
    {
        var now = time.GetUtcNow();
        lock (_restUntil)
        {
            return [.. _options.EffectiveDirectories.OrderBy(directory => _restUntil.TryGetValue(directory.Url, out var until) && until > now)];
        }
    }

    private Task<IssuedCertificate> IssueAsync(
        AcmeDirectoryOptions directory, IReadOnlyList<string> names, AcmeChallenge challenge, StoredCertificate? replaces, CancellationToken cancellationToken) =>
        accounts.ActAsync(directory, async client =>
        {
            // RFC 9773 section 5: only the server that issued it knows what is replaced.
            using var replaced = replaces?.Directory == directory.Url ? X509Certificate2.CreateFromPem(replaces.Chain) : null;
            var (orderUrl, order) = await client.NewOrderAsync(names, directory.Profile, replaced, cancellationToken);
            await AuthorizeAsync(client, order, solvers.First(solver => solver.Kind == challenge), cancellationToken);

            using var key = new CertificateKey(_options.KeyType);
            var finalize = order.Finalize ?? throw new AcmeException(AcmeException.Garbage, $"{orderUrl} has no finalize.");
            var chain = await client.FinalizeAsync(orderUrl, finalize, key.CreateRequest(names), cancellationToken);
            Check(directory.Url, chain, names, key.ToPem());
            return new IssuedCertificate(chain, key.ToPem(), directory.Url);
        }, cancellationToken);

    private static async Task AuthorizeAsync(AcmeClient client, AcmeOrder order, IChallengeSolver solver, CancellationToken cancellationToken)
    {
        var open = new List<(Uri Authorization, Uri Challenge, ChallengeToSolve ToSolve)>();
        foreach (var url in order.Authorizations)
        {
            var authorization = await client.GetAuthorizationAsync(url, cancellationToken);
            if (authorization.Status == "valid")
            {
                continue;
            }

            var challenge = authorization.Challenges.FirstOrDefault(offered => offered.Type == solver.Type)
                ?? throw new AcmeException("unsupportedChallenge", $"The server does not offer {solver.Type} for {authorization.Identifier.Value}, only {string.Join(", ", authorization.Challenges.Select(static offered => offered.Type))}: change Certificates:Acme:Challenge.");
            open.Add((url, challenge.Url, new ChallengeToSolve(authorization.Identifier.Value, challenge.Token, client.Key.Authorize(challenge.Token))));
        }

        IReadOnlyList<ChallengeToSolve> toSolve = [.. open.Select(static one => one.ToSolve)];
        if (toSolve.Count == 0)
        {
            return;
        }

        try
        {
            await solver.PresentAsync(toSolve, cancellationToken);
            foreach (var (_, challenge, _) in open)
            {
                await client.BeginChallengeAsync(challenge, cancellationToken);
            }

            await Task.WhenAll(open.Select(one => client.AwaitAuthorizationAsync(one.Authorization, cancellationToken)));
        }
        finally
        {
            try
            {
                await solver.CleanUpAsync(toSolve, CancellationToken.None);
            }
            catch (Exception exception) when (exception is DnsPublishException || Storage.RedisConnection.IsUnavailable(exception))
            {
                // What is left over is old and harmless: no server asks for it again.
            }
        }
    }

    // What is served must be what was ordered, whatever the server says.
    private static void Check(string directory, string chain, IReadOnlyList<string> names, string key)
    {
        try
        {
            using var certificate = X509Certificate2.CreateFromPem(chain, key);
            if (names.FirstOrDefault(name => !System.Net.IPAddress.TryParse(name, out _) && !ServedCertificate.NamesOf(certificate).Contains(name, StringComparer.OrdinalIgnoreCase)) is { } missing)
            {
                throw new AcmeException(AcmeException.Garbage, $"{directory} issued a certificate without {missing}.");
            }
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            throw new AcmeException(AcmeException.Garbage, $"{directory} issued something that is no certificate for our key: {exception.Message}", inner: exception);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} issued no certificate for {Names} ({Type}): {Reason}")]
    private static partial void LogDirectoryFailed(ILogger logger, string directory, string names, string type, string reason);
}
