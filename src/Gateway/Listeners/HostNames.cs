using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Listeners;

/// <summary>What a request's authority (RFC 9110 section 7.2) means here. Nothing else routes: not SNI, not X-Forwarded-Host.</summary>
internal sealed class HostNames(IOptions<DomainOptions> options)
{
    private const string TunnelLabel = "tunnel";

    private readonly string[] _domains = options.Value.Domains is { Count: > 0 } domains ? [.. domains] : ["localhost"];

    /// <summary>The base domains.</summary>
    public IReadOnlyList<string> Domains => _domains;

    /// <summary>The domain under which new URLs are shown.</summary>
    public string PrimaryDomain => _domains[0];

    /// <summary>Whether devices dial this host.</summary>
    public bool IsTunnel(string? host) => Label(host).Equals(TunnelLabel, StringComparison.OrdinalIgnoreCase);

    /// <summary>Reads the device out of <c>&lt;uuid&gt;.&lt;domain&gt;</c>, in any case, with or without port and trailing dot.</summary>
    public bool TryGetDevice(string? host, out DeviceUuid uuid)
    {
        var label = Label(host);
        Span<char> lower = stackalloc char[64];
        if (label.Length > lower.Length)
        {
            uuid = default;
            return false;
        }

        var length = label.ToLowerInvariant(lower);
        return DeviceUuid.TryParse(lower[..length], null, out uuid);
    }

    /// <summary>Whether a cookie's domain reaches beyond one device: a base domain, or what contains one.</summary>
    public bool IsBaseOrAbove(ReadOnlySpan<char> domain)
    {
        domain = domain.TrimStart('.');
        foreach (var known in _domains)
        {
            if (domain.Equals(known, StringComparison.OrdinalIgnoreCase)
                || (known.Length > domain.Length && known.EndsWith(domain.ToString(), StringComparison.OrdinalIgnoreCase) && known[^(domain.Length + 1)] == '.'))
            {
                return true;
            }
        }

        return false;
    }

    // The one label before a base domain; empty when there is not exactly one.
    private ReadOnlySpan<char> Label(ReadOnlySpan<char> host)
    {
        var port = host.LastIndexOf(':');
        host = port < 0 ? host : host[..port];
        host = host.EndsWith('.') ? host[..^1] : host;
        foreach (var domain in _domains)
        {
            if (host.Length > domain.Length + 1 && host[^(domain.Length + 1)] == '.' && host.EndsWith(domain, StringComparison.OrdinalIgnoreCase))
            {
                // With more than one it may belong to another domain, which is a part of this one.
                var label = host[..^(domain.Length + 1)];
                if (!label.Contains('.'))
                {
                    return label;
                }
            }
        }

        return default;
    }
}
