using System.Net;
using Gateway.Certificates.Acme;
using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

/// <summary>
/// The certificates that are kept at all times: <c>Certificates:Acme:Names</c>, or those that the base domains need. By
/// DNS-01 that is one with the wildcard for each domain; the other challenges issue no wildcards (RFC 8555 section 7.1.3),
/// so that there is one for where the devices dial, and the devices' own come at first use.
/// </summary>
internal sealed class ManagedNames
{
    private readonly Dictionary<string, IReadOnlyList<string>> _byName;

    public ManagedNames(IOptions<CertificateOptions> options, HostNames hosts)
    {
        var acme = options.Value.Acme;
        _byName = options.Value.Source != CertificateSource.Acme ? []
            : acme.Names.Count > 0 ? new(StringComparer.Ordinal) { [KeyOf(acme.Names[0])] = [.. acme.Names.Select(static name => name.ToLowerInvariant())] }
            : hosts.Domains.Select(domain => acme.Challenge == AcmeChallenge.Dns ? (string[])[domain, $"*.{domain}"] : [$"tunnel.{domain}"])
                .ToDictionary(static names => names[0], static names => (IReadOnlyList<string>)names, StringComparer.Ordinal);
        Names = [.. _byName.Keys];
    }

    /// <summary>What the certificates are kept under.</summary>
    public IReadOnlyList<string> Names { get; }

    public bool Contains(string name) => _byName.ContainsKey(name);

    /// <summary>Whether it is the one for clients that name no known host.</summary>
    public bool IsDefault(string name) => Names.Count > 0 && Names[0] == name;

    /// <summary>All names that the certificate is for.</summary>
    public IReadOnlyList<string> NamesOf(string name) => _byName[name];

    /// <summary>Whether a text can be one of the names: a DNS name, perhaps with a wildcard, or an address.</summary>
    public static bool IsName(string text, bool allowWildcard) =>
        IPAddress.TryParse(text, out _)
        || (Uri.CheckHostName(allowWildcard && text.StartsWith("*.", StringComparison.Ordinal) ? text[2..] : text) == UriHostNameType.Dns && text.Length <= 253 && text.Contains('.', StringComparison.Ordinal));

    private static string KeyOf(string name) => (name.StartsWith("*.", StringComparison.Ordinal) ? name[2..] : name).ToLowerInvariant();
}
