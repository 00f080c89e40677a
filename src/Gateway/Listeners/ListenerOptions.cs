using Microsoft.Extensions.Options;

namespace Gateway.Listeners;

/// <summary>Where the gateway listens, and under which names.</summary>
internal sealed class ListenerOptions
{
    public const string Section = "Listen";

    /// <summary>Visitors and devices without TLS. Default <c>*:8080</c>; empty for none.</summary>
    public string Http { get; set; } = "*:8080";

    /// <summary>Visitors and devices with TLS, HTTP/2 and HTTP/1.1. Default empty: none. Needs a certificate, see <c>Certificates:Source</c>.</summary>
    public string Https { get; set; } = "";

    /// <summary>Health, for orchestrators; API and dashboard, for operators. Default <c>127.0.0.1:8081</c>; empty for none.</summary>
    public string Admin { get; set; } = "127.0.0.1:8081";

    /// <summary>The same with TLS. Default empty: none. Needs <c>Certificates:File</c>.</summary>
    public string AdminHttps { get; set; } = "";

    /// <summary>
    /// What visitors put before the path of a device, the asterisk for its uuid, e.g. <c>https://*.resindevice.io</c>. Default
    /// empty: made from the listeners and the first base domain.
    /// </summary>
    public string PublicOrigin { get; set; } = "";

    /// <summary>The largest head of a visitor's request, in KiB; beyond it 431. Default 64.</summary>
    public int MaxRequestHeadersKib { get; set; } = 64;

    /// <summary>The most bytes of a visitor's request body. Default 0: no limit.</summary>
    public long MaxRequestBodyBytes { get; set; }

    /// <summary>
    /// The slowest that a visitor's request body may come whose length is declared, in bytes a second, on average and after
    /// <see cref="ContentGrace"/>; beyond it 408. Streams, whose length nobody knows, may be quiet. Only the time that the gateway waits
    /// for the visitor counts. Default 50; 0 for no limit.
    /// </summary>
    public int MinContentRate { get; set; } = 50;

    /// <summary>How long a request body may be slower than <see cref="MinContentRate"/>. Default 30 s.</summary>
    public TimeSpan ContentGrace { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The longest pause on a visitor's connection between requests. Default 130 s.</summary>
    public TimeSpan KeepAliveTimeout { get; set; } = TimeSpan.FromSeconds(130);

    /// <summary>The longest time for a request's head to arrive. Default 30 s.</summary>
    public TimeSpan RequestHeadersTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How long a visitor may read nothing of a response that has bytes to give, or leave its window of HTTP/2 closed. Default 5 min.</summary>
    public TimeSpan StalledReadTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>After SIGTERM, requests in flight have this long to finish. Default 30 s.</summary>
    public TimeSpan DrainTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// After SIGTERM, with other nodes there, the listeners stay open for at least this long, while <c>/readyz</c> says no:
    /// balancers need a moment to look elsewhere. Part of <see cref="DrainTimeout"/>. Default 5 s.
    /// </summary>
    public TimeSpan DrainDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Networks (CIDR) of the balancers whose connections to <see cref="Http"/> and <see cref="Https"/> begin with a PROXY protocol head, version 1
    /// or 2. Default none.
    /// </summary>
    public IList<string> ProxyProtocol { get; } = [];

    internal sealed class Validator : IValidateOptions<ListenerOptions>
    {
        public ValidateOptionsResult Validate(string? name, ListenerOptions options)
        {
            foreach (var (key, value) in new[] { ("Http", options.Http), ("Https", options.Https), ("Admin", options.Admin), ("AdminHttps", options.AdminHttps) })
            {
                if (value.Length > 0 && !ListenAddress.TryParse(value, out _))
                {
                    return ValidateOptionsResult.Fail($"{Section}:{key} is \"{value}\": give an address and a port, e.g. \"*:8080\", \"127.0.0.1:8080\", \"[::1]:8080\", or \"unix:/run/gateway.sock\".");
                }
            }

            if (options.PublicOrigin.Length > 0 && (!options.PublicOrigin.StartsWith("http", StringComparison.Ordinal) || !options.PublicOrigin.Contains("://*.", StringComparison.Ordinal)
                || !Uri.TryCreate(options.PublicOrigin.Replace("*", "0", StringComparison.Ordinal), UriKind.Absolute, out var origin) || origin.AbsolutePath != "/" || options.PublicOrigin.EndsWith('/')))
            {
                return ValidateOptionsResult.Fail($"{Section}:PublicOrigin is \"{options.PublicOrigin}\": give scheme, an asterisk for the uuid, domain and, where it is not the standard one, port, e.g. \"https://*.resindevice.io\".");
            }

            if (options.Http.Length == 0 && options.Https.Length == 0)
            {
                return ValidateOptionsResult.Fail($"{Section}:Http and {Section}:Https are both empty: give at least one, e.g. {Section}:Http \"*:8080\".");
            }

            for (var i = 0; i < options.ProxyProtocol.Count; i++)
            {
                if (!System.Net.IPNetwork.TryParse(options.ProxyProtocol[i], out _))
                {
                    return ValidateOptionsResult.Fail($"{Section}:ProxyProtocol[{i}] is \"{options.ProxyProtocol[i]}\": give a network, e.g. \"10.0.0.0/8\" or \"2001:db8::/32\".");
                }
            }

            if (options.MaxRequestHeadersKib is < 8 or > 1024)
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxRequestHeadersKib is {options.MaxRequestHeadersKib}: give 8 to 1024.");
            }

            if (options.MaxRequestBodyBytes < 0)
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxRequestBodyBytes is {options.MaxRequestBodyBytes}: give a number of bytes, or 0 for no limit.");
            }

            if (options.MinContentRate is < 0 or > 1_000_000)
            {
                return ValidateOptionsResult.Fail($"{Section}:MinContentRate is {options.MinContentRate}: give 1 to 1000000 bytes a second, or 0 for no limit.");
            }

            // The server looks once a second whether a content or a response stands still, and takes no shorter time than that.
            foreach (var (key, value, seconds) in new[]
            {
                ("KeepAliveTimeout", options.KeepAliveTimeout, 1), ("RequestHeadersTimeout", options.RequestHeadersTimeout, 1),
                ("ContentGrace", options.ContentGrace, 2), ("StalledReadTimeout", options.StalledReadTimeout, 2), ("DrainTimeout", options.DrainTimeout, 1),
            })
            {
                if (value < TimeSpan.FromSeconds(seconds) || value > TimeSpan.FromDays(1))
                {
                    return ValidateOptionsResult.Fail($"{Section}:{key} is {value}: give {TimeSpan.FromSeconds(seconds)} to 1.00:00:00.");
                }
            }

            return options.DrainDelay < TimeSpan.Zero || options.DrainDelay > TimeSpan.FromDays(1)
                ? ValidateOptionsResult.Fail($"{Section}:DrainDelay is {options.DrainDelay}: give 00:00:00 to 1.00:00:00.")
                : ValidateOptionsResult.Success;
        }
    }
}

/// <summary>The base domains. They stand in the section <c>Edge</c>, for they are what visitors see.</summary>
internal sealed class DomainOptions
{
    public const string Section = "Edge";

    /// <summary>Devices are <c>&lt;uuid&gt;.&lt;domain&gt;</c>, the tunnel endpoint is <c>tunnel.&lt;domain&gt;</c>. Default <c>localhost</c>.</summary>
    public IList<string> Domains { get; } = [];

    internal sealed class Validator : IValidateOptions<DomainOptions>
    {
        public ValidateOptionsResult Validate(string? name, DomainOptions options)
        {
            for (var i = 0; i < options.Domains.Count; i++)
            {
                var domain = options.Domains[i];
                if (domain.StartsWith("*.", StringComparison.Ordinal))
                {
                    return ValidateOptionsResult.Fail($"{Section}:Domains[{i}] is \"{domain}\": give the base domain without the wildcard, e.g. \"{domain[2..]}\".");
                }

                // 63 octets of a label and a dot stand before it in at most 253 (RFC 1035 section 2.3.4).
                if (Uri.CheckHostName(domain) != UriHostNameType.Dns || domain.Length > 189 || domain.EndsWith('.'))
                {
                    return ValidateOptionsResult.Fail($"{Section}:Domains[{i}] is \"{domain}\": give a domain name, e.g. \"resindevice.io\".");
                }
            }

            return ValidateOptionsResult.Success;
        }
    }
}
