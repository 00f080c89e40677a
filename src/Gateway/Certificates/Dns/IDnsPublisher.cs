namespace Gateway.Certificates.Dns;

/// <summary>Publishes TXT records of DNS-01. There may be several with one name: that of a domain and that of its wildcard.</summary>
internal interface IDnsPublisher
{
    /// <param name="domain">The domain; the record's name is <see cref="DnsNames.ChallengeOf"/> of it.</param>
    /// <param name="value">The record's text.</param>
    /// <param name="cancellationToken">Ends it.</param>
    /// <exception cref="DnsPublishException">It cannot be published; the message says why.</exception>
    Task AddAsync(string domain, string value, CancellationToken cancellationToken);

    /// <inheritdoc cref="AddAsync"/>
    Task RemoveAsync(string domain, string value, CancellationToken cancellationToken);
}

/// <summary>The names in DNS-01.</summary>
internal static class DnsNames
{
    public static string ChallengeOf(string domain) => $"_acme-challenge.{domain}";
}

/// <summary>A record could not be published.</summary>
internal sealed class DnsPublishException(string message, Exception? inner = null) : Exception(message, inner);
