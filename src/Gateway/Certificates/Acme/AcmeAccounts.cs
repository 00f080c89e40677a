using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Gateway.Certificates.Shared;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Acme;

/// <summary>The accounts at the ACME servers: one a server for all nodes, kept in the store.</summary>
internal sealed partial class AcmeAccounts(IOptions<CertificateOptions> options, CertificateStore store, TimeProvider time, ILogger<AcmeAccounts> logger) : IDisposable
{
    private readonly AcmeOptions _options = options.Value.Acme;
    private readonly Lazy<HttpClient> _http = new(() => CreateHttp(options.Value.Acme));
    private readonly SemaphoreSlim _signingIn = new(1);
    private readonly Dictionary<string, AcmeClient> _clients = new(StringComparer.Ordinal);

    /// <summary>Does something as the account at a directory, which is made, or made anew where the server has forgotten it.</summary>
    public async Task<T> ActAsync<T>(AcmeDirectoryOptions directory, Func<AcmeClient, Task<T>> act, CancellationToken cancellationToken)
    {
        var client = await SignInAsync(directory, cancellationToken);
        try
        {
            return await act(client);
        }
        catch (AcmeException exception) when (exception.Type == "accountDoesNotExist")
        {
            LogForgotten(logger, directory.Url);
            await store.RemoveAccountAsync(directory.Url);
            lock (_clients)
            {
                _clients.Remove(directory.Url);
            }

            return await act(await SignInAsync(directory, cancellationToken));
        }
    }

    private async Task<AcmeClient> SignInAsync(AcmeDirectoryOptions directory, CancellationToken cancellationToken)
    {
        await _signingIn.WaitAsync(cancellationToken);
        try
        {
            lock (_clients)
            {
                if (_clients.TryGetValue(directory.Url, out var known))
                {
                    return known;
                }
            }

            var client = await FindAccountAsync(directory.Url) is var (key, account)
                ? UseAccount(directory, key, account)
                : await RegisterAsync(directory, cancellationToken);
            lock (_clients)
            {
                _clients[directory.Url] = client;
            }

            return client;
        }
        finally
        {
            _signingIn.Release();
        }
    }

    private async Task<(string Key, string Url)?> FindAccountAsync(string url)
    {
        try
        {
            return await store.FindAccountAsync(url);
        }
        catch (UnusableCertificateException exception)
        {
            LogAccountUnusable(logger, url, exception.Message);
            return null;
        }
    }

    private AcmeClient UseAccount(AcmeDirectoryOptions directory, string key, string account)
    {
        var client = new AcmeClient(_http.Value, new Uri(directory.Url), AccountKey.FromPem(key), time);
        client.UseAccount(account);
        return client;
    }

    private async Task<AcmeClient> RegisterAsync(AcmeDirectoryOptions directory, CancellationToken cancellationToken)
    {
        // One node registers; the others use its account.
        await using var lease = await store.TryLeaseAsync($"account {directory.Url}", cancellationToken);
        if (lease is null)
        {
            throw new AcmeException("busy", $"Another node registers at {directory.Url} at this moment.", TimeSpan.FromSeconds(2));
        }

        if (await FindAccountAsync(directory.Url) is var (key, account))
        {
            return UseAccount(directory, key, account);
        }

        var client = new AcmeClient(_http.Value, new Uri(directory.Url), AccountKey.New(), time);
        try
        {
            var url = await client.RegisterAsync(directory, _options.Email, cancellationToken);
            await store.SaveAccountAsync(directory.Url, client.Key.ToPem(), url);
            LogRegistered(logger, directory.Url, url);
            return client;
        }
        catch
        {
            client.Dispose();
            throw;
        }
    }

    /// <summary>A client without an account, for questions that are not signed.</summary>
    public AcmeClient CreateStranger(AcmeDirectoryOptions directory) => new(_http.Value, new Uri(directory.Url), AccountKey.New(), time);

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
        http.DefaultRequestHeaders.UserAgent.ParseAdd($"device-gateway/{typeof(AcmeAccounts).Assembly.GetName().Version?.ToString(3)}");
        return http;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Registered at {Directory} as {Account}")]
    private static partial void LogRegistered(ILogger logger, string directory, string account);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} does not know the account any more; a new one is registered")]
    private static partial void LogForgotten(ILogger logger, string directory);

    [LoggerMessage(Level = LogLevel.Error, Message = "The account at {Directory} in the store cannot be used and a new one is registered: {Reason}")]
    private static partial void LogAccountUnusable(ILogger logger, string directory, string reason);
}
