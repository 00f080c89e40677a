namespace Gateway.Certificates.Acme;

/// <summary>An ACME server refused, or did not answer as one; the message is for operators.</summary>
/// <param name="type">The error type (RFC 8555 section 6.7) without its prefix, or a word of the gateway's own.</param>
/// <param name="message">What happened.</param>
/// <param name="retryAfter">What the server asks to wait, if it does.</param>
/// <param name="inner">The cause.</param>
internal sealed class AcmeException(string type, string message, TimeSpan? retryAfter = null, Exception? inner = null) : Exception(message, inner)
{
    /// <summary>The server was not reached, or hung up.</summary>
    public const string Unreachable = "unreachable";

    /// <summary>The server did not answer in time.</summary>
    public const string Slow = "timeout";

    /// <summary>What came is not ACME.</summary>
    public const string Garbage = "garbage";

    /// <summary>A word from a short list, for metrics: what the server's error is, or what else went wrong.</summary>
    public string Type { get; } = type;

    /// <summary>What the server asks to wait (RFC 9110 section 10.2.3).</summary>
    public TimeSpan? RetryAfter { get; } = retryAfter;
}
