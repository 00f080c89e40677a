using Gateway.Certificates.Shared;
using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Dns;

/// <summary>
/// What the gateway's own name server has authority over: <c>_acme-challenge.&lt;domain&gt;</c> of each name it orders a
/// wildcard for, delegated by NS records; or, with <c>Certificates:Acme:Dns:Zone</c>, that zone, to which CNAMEs lead.
/// </summary>
internal sealed class GatewayZones : IDnsPublisher
{
    private const string StoreKind = "dns";

    private readonly ChallengeStore _challenges;
    private readonly DnsOptions _options;

    // Record name -> the domain whose challenges stand there. Few, known from the configuration: strangers' names ask nobody.
    private readonly Dictionary<string, string> _domains = new(StringComparer.OrdinalIgnoreCase);

    public GatewayZones(IOptions<CertificateOptions> options, ManagedNames managed, ChallengeStore challenges)
    {
        _challenges = challenges;
        _options = options.Value.Acme.Dns;
        foreach (var domain in managed.Names.SelectMany(managed.NamesOf).Select(static name => name.StartsWith("*.", StringComparison.Ordinal) ? name[2..] : name))
        {
            _domains[DnsNames.ChallengeOf(domain)] = domain;
            if (_options.Zone.Length > 0)
            {
                _domains[$"{domain}.{_options.Zone}"] = domain;
            }
        }
    }

    /// <summary>The zone that a name is in; null when the gateway has no say there.</summary>
    public string? ZoneOf(string name)
    {
        if (_options.Zone.Length > 0 && IsWithin(name, _options.Zone))
        {
            return _options.Zone;
        }

        foreach (var record in _domains.Keys)
        {
            if (IsWithin(name, record))
            {
                return record;
            }
        }

        return null;
    }

    /// <summary>What this server is called.</summary>
    public string ServerOf(string zone) => _options.ServerName.Length > 0 ? _options.ServerName : $"ns.{zone}";

    /// <summary>Whether there is something at a name or below it (RFC 8020).</summary>
    public bool Exists(string name) => _domains.Keys.Any(record => IsWithin(record, name));

    /// <summary>The texts at a name.</summary>
    public async Task<IReadOnlyList<string>> FindTextsAsync(string name) =>
        _domains.TryGetValue(name, out var domain) ? await _challenges.FindAsync(StoreKind, domain) : [];

    public Task AddAsync(string domain, string value, CancellationToken cancellationToken) => _challenges.AddAsync(StoreKind, domain, value);

    public Task RemoveAsync(string domain, string value, CancellationToken cancellationToken) => _challenges.RemoveAsync(StoreKind, domain, value);

    private static bool IsWithin(string name, string zone) =>
        name.EndsWith(zone, StringComparison.OrdinalIgnoreCase) && (name.Length == zone.Length || name[^(zone.Length + 1)] == '.');
}
