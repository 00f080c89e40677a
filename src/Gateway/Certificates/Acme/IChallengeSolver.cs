using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Gateway.Certificates.Acme;

/// <summary>What a server wants to see before it believes that a name is ours.</summary>
/// <param name="Name">The name, without a wildcard's asterisk.</param>
/// <param name="Token">The server's part.</param>
/// <param name="KeyAuthorization">The server's part and the account's (RFC 8555 section 8.1).</param>
internal sealed record ChallengeToSolve(string Name, string Token, string KeyAuthorization)
{
    /// <summary>The value of DNS-01's TXT record (RFC 8555 section 8.4).</summary>
    public string DnsValue => Base64Url.EncodeToString(SHA256.HashData(Encoding.ASCII.GetBytes(KeyAuthorization)));
}

/// <summary>Shows an ACME server what it wants to see.</summary>
internal interface IChallengeSolver
{
    AcmeChallenge Kind { get; }

    /// <summary>The challenge's type in ACME.</summary>
    string Type { get; }

    /// <summary>Makes everything ready; when it returns, the server may look.</summary>
    Task PresentAsync(IReadOnlyList<ChallengeToSolve> challenges, CancellationToken cancellationToken);

    /// <summary>Takes it back, as well as it can.</summary>
    Task CleanUpAsync(IReadOnlyList<ChallengeToSolve> challenges, CancellationToken cancellationToken);
}
