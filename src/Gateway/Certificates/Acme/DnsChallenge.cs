using Gateway.Certificates.Dns;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Acme;

/// <summary>DNS-01 (RFC 8555 section 8.4).</summary>
internal sealed class DnsChallenge(IDnsPublisher publisher, IOptions<CertificateOptions> options, TimeProvider time) : IChallengeSolver
{
    private readonly DnsOptions _options = options.Value.Acme.Dns;

    public AcmeChallenge Kind => AcmeChallenge.Dns;

    public string Type => "dns-01";

    public async Task PresentAsync(IReadOnlyList<ChallengeToSolve> challenges, CancellationToken cancellationToken)
    {
        foreach (var challenge in challenges)
        {
            await publisher.AddAsync(challenge.Name, challenge.DnsValue, cancellationToken);
        }

        // A resolver's question that was under way at that moment is answered by now, or the other name servers have followed.
        await Task.Delay(_options.Publisher == DnsPublisher.Gateway ? TimeSpan.FromMilliseconds(100) : _options.PropagationDelay, time, cancellationToken);
    }

    public async Task CleanUpAsync(IReadOnlyList<ChallengeToSolve> challenges, CancellationToken cancellationToken)
    {
        foreach (var challenge in challenges)
        {
            await publisher.RemoveAsync(challenge.Name, challenge.DnsValue, cancellationToken);
        }
    }
}
