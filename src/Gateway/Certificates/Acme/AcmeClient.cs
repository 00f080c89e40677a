using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;

namespace Gateway.Certificates.Acme;

/// <summary>Speaks ACME (RFC 8555) with one server as one account. Every failure is an <see cref="AcmeException"/>.</summary>
internal sealed class AcmeClient(HttpClient http, Uri directoryUrl, AccountKey key, TimeProvider time) : IDisposable
{
    private const int NonceAttempts = 10;
    private const int ReadAttempts = 4;

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(10);

    // The newest first: old ones run out.
    private readonly ConcurrentStack<string> _nonces = new();
    private AcmeDirectory? _directory;
    private string? _account;

    /// <summary>Whose key signs.</summary>
    public AccountKey Key => key;

    public void Dispose() => key.Dispose();

    /// <summary>Reads what the server offers; once.</summary>
    public async Task<AcmeDirectory> GetDirectoryAsync(CancellationToken cancellationToken)
    {
        if (_directory is null)
        {
            using var answer = await SendAsync(() => new HttpRequestMessage(HttpMethod.Get, directoryUrl), cancellationToken);
            _directory = answer.Read<AcmeDirectory>();
        }

        return _directory;
    }

    /// <summary>Uses an account that was registered before.</summary>
    public void UseAccount(string account) => _account = account;

    /// <summary>Registers an account, or finds the one of this key (RFC 8555 section 7.3).</summary>
    /// <returns>The account's address.</returns>
    public async Task<string> RegisterAsync(AcmeDirectoryOptions options, string email, CancellationToken cancellationToken)
    {
        var directory = await GetDirectoryAsync(cancellationToken);
        var account = new JsonObject { ["termsOfServiceAgreed"] = true };
        if (email.Length > 0)
        {
            account["contact"] = new JsonArray($"mailto:{email}");
        }

        if (options.KeyId.Length > 0)
        {
            account["externalAccountBinding"] = key.Bind(options.KeyId, Base64Url.DecodeFromChars(options.MacKey), directory.NewAccount);
        }
        else if (directory.Meta is { ExternalAccountRequired: true })
        {
            throw new AcmeException("externalAccountRequired", $"{directoryUrl} asks for external account binding: give KeyId and MacKey of Certificates:Acme:Directories, from your account there.");
        }

        _account = null;
        using var answer = await PostAsync(directory.NewAccount, account, cancellationToken);
        return _account = answer.Location().AbsoluteUri;
    }

    /// <summary>Orders a certificate (RFC 8555 section 7.4).</summary>
    /// <param name="names">DNS names and addresses (RFC 8738).</param>
    /// <param name="profile">The profile; empty for the server's choice.</param>
    /// <param name="replaces">The certificate that this one is for (RFC 9773 section 5); null for none.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public async Task<(Uri Url, AcmeOrder Order)> NewOrderAsync(IReadOnlyList<string> names, string profile, X509Certificate2? replaces, CancellationToken cancellationToken)
    {
        var directory = await GetDirectoryAsync(cancellationToken);
        var order = new JsonObject
        {
            ["identifiers"] = new JsonArray([.. names.Select(static name => (JsonNode)new JsonObject { ["type"] = IPAddress.TryParse(name, out _) ? "ip" : "dns", ["value"] = name })]),
        };
        if (profile.Length > 0)
        {
            if (directory.Meta?.Profiles is not { } profiles || !profiles.ContainsKey(profile))
            {
                throw new AcmeException("invalidProfile", $"{directoryUrl} has no profile \"{profile}\"; it has {(directory.Meta?.Profiles is { Count: > 0 } known ? string.Join(", ", known.Keys) : "none")}.");
            }

            order["profile"] = profile;
        }

        if (replaces is not null && directory.RenewalInfo is not null && RenewalInfoId(replaces) is { } id)
        {
            order["replaces"] = id;
        }

        using var answer = await PostAsync(directory.NewOrder, order, cancellationToken);
        return (answer.Location(), answer.Read<AcmeOrder>());
    }

    public async Task<AcmeAuthorization> GetAuthorizationAsync(Uri url, CancellationToken cancellationToken)
    {
        using var answer = await PostAsync(url, null, cancellationToken);
        return answer.Read<AcmeAuthorization>();
    }

    /// <summary>Says that a challenge can be checked now (RFC 8555 section 7.5.1).</summary>
    public async Task BeginChallengeAsync(Uri url, CancellationToken cancellationToken) => (await PostAsync(url, new JsonObject(), cancellationToken)).Dispose();

    /// <summary>Waits until an authorization is decided; it is valid then.</summary>
    public async Task AwaitAuthorizationAsync(Uri url, CancellationToken cancellationToken)
    {
        var authorization = await PollAsync<AcmeAuthorization>(url, static answer => answer.Status != "pending", cancellationToken);
        if (authorization.Status != "valid")
        {
            var error = authorization.Challenges.Select(static challenge => challenge.Error).FirstOrDefault(static error => error is not null);
            throw new AcmeException(error?.Word ?? "unauthorized", $"{directoryUrl} could not validate {authorization.Identifier.Value}: {error?.ToString() ?? authorization.Status}");
        }
    }

    /// <summary>Has the certificate made, and waits for it (RFC 8555 section 7.4).</summary>
    /// <returns>PEM: the certificate, its chain after it.</returns>
    public async Task<string> FinalizeAsync(Uri orderUrl, Uri finalize, byte[] request, CancellationToken cancellationToken)
    {
        // Authorizations may be valid a moment before the order is ready.
        await PollAsync<AcmeOrder>(orderUrl, static order => order.Status != "pending", cancellationToken);
        (await PostAsync(finalize, new JsonObject { ["csr"] = Base64Url.EncodeToString(request) }, cancellationToken)).Dispose();
        var order = await PollAsync<AcmeOrder>(orderUrl, static order => order.Status is "valid" or "invalid", cancellationToken);
        if (order.Certificate is null)
        {
            throw new AcmeException(order.Error?.Word ?? "invalid", $"{directoryUrl} did not issue: {order.Error?.ToString() ?? order.Status}");
        }

        using var answer = await PostAsync(order.Certificate, null, cancellationToken, "application/pem-certificate-chain");
        return Encoding.ASCII.GetString(await answer.Message.Content.ReadAsByteArrayAsync(cancellationToken));
    }

    /// <summary>Revokes a certificate (RFC 8555 section 7.6).</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="reason">RFC 5280 section 5.3.1: 0 unspecified, 1 key compromise, 4 superseded, 5 cessation of operation.</param>
    /// <param name="cancellationToken">Ends it.</param>
    public async Task RevokeAsync(X509Certificate2 certificate, int reason, CancellationToken cancellationToken)
    {
        var directory = await GetDirectoryAsync(cancellationToken);
        (await PostAsync(directory.RevokeCert, new JsonObject { ["certificate"] = Base64Url.EncodeToString(certificate.RawData), ["reason"] = reason }, cancellationToken)).Dispose();
    }

    /// <summary>When the server suggests to renew (RFC 9773); null when it makes no suggestion.</summary>
    /// <returns>The window, and how long it may be relied on.</returns>
    public async Task<(AcmeWindow Window, TimeSpan? RetryAfter)?> GetRenewalInfoAsync(X509Certificate2 certificate, CancellationToken cancellationToken)
    {
        var directory = await GetDirectoryAsync(cancellationToken);
        if (directory.RenewalInfo is null || RenewalInfoId(certificate) is not { } id)
        {
            return null;
        }

        var url = new Uri($"{directory.RenewalInfo.AbsoluteUri.TrimEnd('/')}/{id}");
        using var answer = await SendAsync(() => new HttpRequestMessage(HttpMethod.Get, url), cancellationToken);
        return (answer.Window(), answer.RetryAfter(time.GetUtcNow()));
    }

    // RFC 9773 section 4.1: the authority key identifier and the serial number.
    private static string? RenewalInfoId(X509Certificate2 certificate) =>
        certificate.Extensions.OfType<X509AuthorityKeyIdentifierExtension>().FirstOrDefault()?.KeyIdentifier is { } authority
            ? $"{Base64Url.EncodeToString(authority.Span)}.{Base64Url.EncodeToString(certificate.SerialNumberBytes.Span)}"
            : null;

    private async Task<T> PollAsync<T>(Uri url, Func<T, bool> isDone, CancellationToken cancellationToken)
    {
        for (var pause = FirstPause; ; pause = pause * 2 < LongestPause ? pause * 2 : LongestPause)
        {
            using var answer = await PostAsync(url, null, cancellationToken);
            var resource = answer.Read<T>();
            if (isDone(resource))
            {
                return resource;
            }

            await Task.Delay(answer.RetryAfter(time.GetUtcNow()) is { } asked && asked > pause ? asked : pause, time, cancellationToken);
        }
    }

    // A question (POST-as-GET) is repeated when the server stumbles; an action is not.
    private async Task<AcmeAnswer> PostAsync(Uri url, JsonNode? payload, CancellationToken cancellationToken, string accept = "application/json")
    {
        var badNonces = 0;
        for (var attempt = 1; ;)
        {
            var nonce = await TakeNonceAsync(cancellationToken);
            try
            {
                return await SendAsync(
                    () =>
                    {
                        var request = new HttpRequestMessage(HttpMethod.Post, url)
                        {
                            Content = new StringContent(key.Sign(payload, url, nonce, _account), Encoding.ASCII, new MediaTypeHeaderValue("application/jose+json")),
                        };
                        request.Content.Headers.ContentType!.CharSet = null;
                        request.Headers.Accept.ParseAdd(accept);
                        return request;
                    },
                    cancellationToken);
            }
            catch (AcmeException exception) when (exception.Type == "badNonce" && ++badNonces < NonceAttempts)
            {
                // RFC 8555 section 6.5: try again with the nonce of the error.
            }
            catch (AcmeException exception) when (payload is null && attempt < ReadAttempts && exception.Type is "serverInternal" or AcmeException.Unreachable && exception.RetryAfter is null)
            {
                await Task.Delay(FirstPause * Math.Pow(2, attempt++), time, cancellationToken);
            }
        }
    }

    private async Task<string> TakeNonceAsync(CancellationToken cancellationToken)
    {
        if (_nonces.TryPop(out var nonce))
        {
            return nonce;
        }

        var directory = await GetDirectoryAsync(cancellationToken);
        using var answer = await SendAsync(() => new HttpRequestMessage(HttpMethod.Head, directory.NewNonce), cancellationToken);
        return _nonces.TryPop(out nonce) ? nonce : throw new AcmeException(AcmeException.Garbage, $"{directory.NewNonce} gives no Replay-Nonce.");
    }

    private async Task<AcmeAnswer> SendAsync(Func<HttpRequestMessage> create, CancellationToken cancellationToken)
    {
        using var request = create();
        AcmeAnswer answer;
        try
        {
            answer = new AcmeAnswer(request.RequestUri!, await http.SendAsync(request, HttpCompletionOption.ResponseContentRead, cancellationToken));
        }
        catch (HttpRequestException exception)
        {
            throw new AcmeException(
                exception.HttpRequestError == HttpRequestError.ConfigurationLimitExceeded ? AcmeException.Garbage : AcmeException.Unreachable,
                $"{request.RequestUri} cannot be asked: {exception.GetBaseException().Message}", inner: exception);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new AcmeException(AcmeException.Slow, $"{request.RequestUri} did not answer within {http.Timeout.TotalSeconds:0.#} s.", inner: exception);
        }

        if (answer.Message.Headers.TryGetValues("Replay-Nonce", out var nonces))
        {
            _nonces.Push(nonces.First());
        }

        if (answer.Refusal(time.GetUtcNow()) is { } refusal)
        {
            answer.Dispose();
            throw refusal;
        }

        return answer;
    }
}
