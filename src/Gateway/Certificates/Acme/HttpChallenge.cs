using Gateway.Certificates.Shared;

namespace Gateway.Certificates.Acme;

/// <summary>HTTP-01 (RFC 8555 section 8.3): every node answers from the store on its plain listener.</summary>
internal sealed class HttpChallenge(ChallengeStore challenges) : IChallengeSolver
{
    public const string PathPrefix = "/.well-known/acme-challenge/";

    private const string StoreKind = "http";
    private const int MaxTokenLength = 256;

    public AcmeChallenge Kind => AcmeChallenge.Http;

    public string Type => "http-01";

    public Task PresentAsync(IReadOnlyList<ChallengeToSolve> toSolve, CancellationToken cancellationToken) =>
        Task.WhenAll(toSolve.Select(challenge => challenges.AddAsync(StoreKind, challenge.Token, challenge.KeyAuthorization)));

    public Task CleanUpAsync(IReadOnlyList<ChallengeToSolve> toSolve, CancellationToken cancellationToken) =>
        Task.WhenAll(toSolve.Select(challenge => challenges.RemoveAsync(StoreKind, challenge.Token, challenge.KeyAuthorization)));

    /// <summary>Answers a check; false when the path is none, or the application's own: it goes to the device then.</summary>
    public async Task<bool> TryAnswerAsync(HttpContext context)
    {
        if (context.Request.Path.Value is not { } path || !path.StartsWith(PathPrefix, StringComparison.Ordinal))
        {
            return false;
        }

        var token = path[PathPrefix.Length..];
        if (token.Length is 0 or > MaxTokenLength || !token.All(static c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_')
            || await challenges.FindAsync(StoreKind, token) is not [var answer])
        {
            return false;
        }

        context.Response.ContentType = "application/octet-stream";
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsync(answer);
        return true;
    }
}
