using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;

namespace Gateway.Certificates;

/// <summary>
/// All certificates of this node, by the name that a client asks for: two look-ups at most, however many there are. A
/// replaced one goes on serving the connections that began with it.
/// </summary>
internal sealed class ServedCertificates
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, (ServedCertificate Certificate, bool IsDefault)> _byKey = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ServedCertificate> _exact = new(StringComparer.OrdinalIgnoreCase);
    private readonly ConcurrentDictionary<string, ServedCertificate> _wildcard = new(StringComparer.OrdinalIgnoreCase);
    private volatile ServedCertificate? _default;

    /// <summary>What a client gets that names no host, or one that no certificate is for; null when there is none yet.</summary>
    public ServedCertificate? Default => _default;

    /// <summary>Finds the certificate for a name (RFC 6125 section 6.4.3: a wildcard stands for one label).</summary>
    /// <param name="name">The server name that the client gave (RFC 6066 section 3).</param>
    public bool TryFind(string name, [NotNullWhen(true)] out ServedCertificate? certificate)
    {
        if (_exact.TryGetValue(name, out certificate))
        {
            return true;
        }

        var dot = name.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && _wildcard.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(name.AsSpan(dot + 1), out certificate);
    }

    /// <summary>Serves a certificate from the next handshake on.</summary>
    /// <param name="key">What it takes the place of: a name in the store, a file.</param>
    /// <param name="certificate">The certificate.</param>
    /// <param name="isDefault">Whether it is for clients, too, that name no known host.</param>
    public void Put(string key, ServedCertificate certificate, bool isDefault = false)
    {
        lock (_lock)
        {
            _byKey.TryGetValue(key, out var previous);
            _byKey[key] = (certificate, isDefault);
            foreach (var name in certificate.Names)
            {
                TableOf(name)[Stripped(name)] = certificate;
            }

            if (previous.Certificate is not null)
            {
                Withdraw(previous.Certificate);
            }

            ChooseDefault();
        }
    }

    /// <summary>Serves what stood under the key no more.</summary>
    public void Remove(string key)
    {
        lock (_lock)
        {
            if (_byKey.Remove(key, out var removed))
            {
                Withdraw(removed.Certificate);
                ChooseDefault();
            }
        }
    }

    /// <summary>What stands under a key.</summary>
    public ServedCertificate? Get(string key)
    {
        lock (_lock)
        {
            return _byKey.TryGetValue(key, out var found) ? found.Certificate : null;
        }
    }

    /// <summary>All, by key.</summary>
    public IReadOnlyList<(string Key, ServedCertificate Certificate)> List()
    {
        lock (_lock)
        {
            return [.. _byKey.Select(static pair => (pair.Key, pair.Value.Certificate))];
        }
    }

    // The names that nothing newer has taken; one that another certificate is also for goes to that one.
    private void Withdraw(ServedCertificate certificate)
    {
        foreach (var name in certificate.Names)
        {
            if (TableOf(name).TryRemove(new KeyValuePair<string, ServedCertificate>(Stripped(name), certificate))
                && _byKey.Values.FirstOrDefault(other => other.Certificate.Names.Contains(name, StringComparer.Ordinal)) is { Certificate: { } heir })
            {
                TableOf(name)[Stripped(name)] = heir;
            }
        }
    }

    private void ChooseDefault() => _default = _byKey.Values.FirstOrDefault(static known => known.IsDefault).Certificate;

    private ConcurrentDictionary<string, ServedCertificate> TableOf(string name) => IsWildcard(name) ? _wildcard : _exact;

    private static string Stripped(string name) => IsWildcard(name) ? name[2..] : name;

    private static bool IsWildcard(string name) => name.StartsWith("*.", StringComparison.Ordinal);
}
