using System.Net.Security;
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
internal sealed partial class AcmeIssuer : IDisposable
{
    private readonly AcmeOptions _options;
    private readonly CertificateStore _store;
    private readonly IReadOnlyList<IChallengeSolver> _solvers;
    private readonly CertificateMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly ILogger<AcmeIssuer> _logger;
    private readonly Lazy<HttpClient> _http;
    private readonly SemaphoreSlim _signingIn = new(1);
    private readonly Dictionary<string, AcmeClient> _clients = new(StringComparer.Ordinal);
    private readonly Dictionary<string, DateTimeOffset> _restUntil = new(StringComparer.Ordinal);

    public AcmeIssuer(
        IOptions<CertificateOptions> options, CertificateStore store, IEnumerable<IChallengeSolver> solvers, CertificateMetrics metrics, TimeProvider time, ILogger<AcmeIssuer> logger)
    {
        (_options, _store, _solvers, _metrics, _time, _logger) = (options.Value.Acme, store, [.. solvers], metrics, time, logger);
        _http = new(() => CreateHttp(_options));
    }

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
            var started = _time.GetTimestamp();
            try
            {
                var issued = await IssueAsync(directory, names, challenge, replaces, timeout.Token);
                lock (_restUntil)
                {
                    _restUntil.Remove(directory.Url);
                }

                _metrics.Ordered(directory.Url, null, _time.GetElapsedTime(started));
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
                _metrics.Ordered(directory.Url, failure.Type, _time.GetElapsedTime(started));
                lock (_restUntil)
                {
                    _restUntil[directory.Url] = _time.GetUtcNow() + (failure.RetryAfter ?? _options.RetryDelay);
                }

                failures.Add(failure);
                LogDirectoryFailed(_logger, directory.Url, string.Join(", ", names), failure.Type, failure.Message);
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
        if (_options.EffectiveDirectories.FirstOrDefault(directory => directory.Url == stored.Directory) is not { } options)
        {
            return null;
        }

        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        using var key = AccountKey.New(); // the question is not signed
        using var client = new AcmeClient(_http.Value, new Uri(options.Url), key, _time);
        return await client.GetRenewalInfoAsync(certificate, cancellationToken);
    }

    /// <summary>Revokes a certificate at the server that issued it.</summary>
    /// <exception cref="AcmeException">It does not.</exception>
    public async Task RevokeAsync(StoredCertificate stored, int reason, CancellationToken cancellationToken)
    {
        var options = _options.EffectiveDirectories.FirstOrDefault(directory => directory.Url == stored.Directory)
            ?? throw new AcmeException("unknownDirectory", $"The certificate of {stored.Name} is from {stored.Directory}, which is none of Certificates:Acme:Directories: add it there.");
        using var certificate = X509Certificate2.CreateFromPem(stored.Chain);
        await WithAccountAsync(options, async client =>
        {
            await client.RevokeAsync(certificate, reason, cancellationToken);
            return true;
        }, cancellationToken);
    }

    public void Dispose()
    {
        foreach (var client in _clients.Values)
        {
            client.Dispose();
        }

        _signingIn.Dispose();
        if (_http.IsValueCreated)
        {
            _http.Value.Dispose();
        }
    }

    private IReadOnlyList<AcmeDirectoryOptions> InOrder()
    {
        var now = _time.GetUtcNow();
        lock (_restUntil)
        {
            return [.. _options.EffectiveDirectories.OrderBy(directory => _restUntil.TryGetValue(directory.Url, out var until) && until > now)];
        }
    }

    private Task<IssuedCertificate> IssueAsync(
        AcmeDirectoryOptions options, IReadOnlyList<string> names, AcmeChallenge challenge, StoredCertificate? replaces, CancellationToken cancellationToken) =>
        WithAccountAsync(options, async client =>
        {
            // RFC 9773 section 5: only the server that issued it knows what is replaced.
            using var replaced = replaces?.Directory == options.Url ? X509Certificate2.CreateFromPem(replaces.Chain) : null;
            var (orderUrl, order) = await client.NewOrderAsync(names, options.Profile, replaced, cancellationToken);
            await AuthorizeAsync(client, order, _solvers.First(solver => solver.Kind == challenge), cancellationToken);

            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            var finalize = order.Finalize ?? throw new AcmeException(AcmeException.Garbage, $"{orderUrl} has no finalize.");
            var chain = await client.FinalizeAsync(orderUrl, finalize, CreateRequest(names, key), cancellationToken);
            Check(options.Url, chain, names, key);
            return new IssuedCertificate(chain, key.ExportPkcs8PrivateKeyPem(), options.Url);
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

    // Does something as the account at a directory, which is made, or made anew where the server has forgotten it.
    private async Task<T> WithAccountAsync<T>(AcmeDirectoryOptions options, Func<AcmeClient, Task<T>> act, CancellationToken cancellationToken)
    {
        var client = await SignInAsync(options, cancellationToken);
        try
        {
            return await act(client);
        }
        catch (AcmeException exception) when (exception.Type == "accountDoesNotExist")
        {
            LogForgotten(_logger, options.Url);
            await _store.RemoveAccountAsync(options.Url);
            lock (_clients)
            {
                _clients.Remove(options.Url);
            }

            return await act(await SignInAsync(options, cancellationToken));
        }
    }

    private async Task<AcmeClient> SignInAsync(AcmeDirectoryOptions options, CancellationToken cancellationToken)
    {
        await _signingIn.WaitAsync(cancellationToken);
        try
        {
            lock (_clients)
            {
                if (_clients.TryGetValue(options.Url, out var known))
                {
                    return known;
                }
            }

            var client = await FindAccountAsync(options.Url) is var (key, account)
                ? UseAccount(options, key, account)
                : await RegisterAsync(options, cancellationToken);
            lock (_clients)
            {
                _clients[options.Url] = client;
            }

            return client;
        }
        finally
        {
            _signingIn.Release();
        }
    }

    private async Task<(string Key, string Url)?> FindAccountAsync(string directory)
    {
        try
        {
            return await _store.FindAccountAsync(directory);
        }
        catch (UnusableCertificateException exception)
        {
            LogAccountUnusable(_logger, directory, exception.Message);
            return null;
        }
    }

    private AcmeClient UseAccount(AcmeDirectoryOptions options, string key, string account)
    {
        var client = new AcmeClient(_http.Value, new Uri(options.Url), AccountKey.FromPem(key), _time);
        client.UseAccount(account);
        return client;
    }

    private async Task<AcmeClient> RegisterAsync(AcmeDirectoryOptions options, CancellationToken cancellationToken)
    {
        // One node registers; the others use its account.
        await using var lease = await _store.TryLeaseAsync($"account {options.Url}", cancellationToken);
        if (lease is null)
        {
            throw new AcmeException("busy", $"Another node registers at {options.Url} at this moment.", TimeSpan.FromSeconds(2));
        }

        if (await FindAccountAsync(options.Url) is var (key, account))
        {
            return UseAccount(options, key, account);
        }

        var client = new AcmeClient(_http.Value, new Uri(options.Url), AccountKey.New(), _time);
        try
        {
            var url = await client.RegisterAsync(options, _options.Email, cancellationToken);
            await _store.SaveAccountAsync(options.Url, client.Key.ToPem(), url);
            LogRegistered(_logger, options.Url, url);
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    // RFC 8555 section 7.4: the names stand in the request as well.
    private static byte[] CreateRequest(IReadOnlyList<string> names, ECDsa key)
    {
        var request = new CertificateRequest(new X500DistinguishedName(""), key, HashAlgorithmName.SHA256);
        var alternatives = new SubjectAlternativeNameBuilder();
        foreach (var name in names)
        {
            if (System.Net.IPAddress.TryParse(name, out var address))
            {
                alternatives.AddIpAddress(address);
            }
            else
            {
                alternatives.AddDnsName(name);
            }
        }

        request.CertificateExtensions.Add(alternatives.Build());
        return request.CreateSigningRequest();
    }

    // What is served must be what was ordered, whatever the server says.
    private static void Check(string directory, string chain, IReadOnlyList<string> names, ECDsa key)
    {
        try
        {
            using var certificate = X509Certificate2.CreateFromPem(chain, key.ExportPkcs8PrivateKeyPem());
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

    private static HttpClient CreateHttp(AcmeOptions options)
    {
        var handler = new SocketsHttpHandler { PooledConnectionLifetime = TimeSpan.FromMinutes(5), ConnectTimeout = options.RequestTimeout, ActivityHeadersPropagator = null };
        if (options.CaFile.Length > 0)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.ImportFromPemFile(options.CaFile);
            handler.SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = policy };
        }

        var http = new HttpClient(handler) { Timeout = options.RequestTimeout, MaxResponseContentBufferSize = 1024 * 1024 };
        http.DefaultRequestHeaders.UserAgent.ParseAdd($"device-gateway/{typeof(AcmeIssuer).Assembly.GetName().Version?.ToString(3)}");
        return http;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Registered at {Directory} as {Account}")]
    private static partial void LogRegistered(ILogger logger, string directory, string account);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} does not know the account any more; a new one is registered")]
    private static partial void LogForgotten(ILogger logger, string directory);

    [LoggerMessage(Level = LogLevel.Error, Message = "The account at {Directory} in the store cannot be used and a new one is registered: {Reason}")]
    private static partial void LogAccountUnusable(ILogger logger, string directory, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} issued no certificate for {Names} ({Type}): {Reason}")]
    private static partial void LogDirectoryFailed(ILogger logger, string directory, string names, string type, string reason);
}
