using System.Text;
using Microsoft.AspNetCore.Connections;
using Microsoft.Net.Http.Headers;

namespace Gateway.Listeners.Http2;

/// <summary>
/// Refuses HTTP/2 requests whose <c>Host</c> field and <c>:authority</c> differ (RFC 9113 section 8.3.1). The server itself
/// takes the latter and forgets the former before anybody sees it; only the decoding of the two values comes earlier, so
/// this is where they are compared. The refusal ends the connection with PROTOCOL_ERROR.
/// </summary>
/// <remarks>Pseudo-fields come before fields, and a connection's heads are decoded one after the other.</remarks>
internal static class OneAuthority
{
    private const string Authority = ":authority";

    private static readonly AsyncLocal<Head?> Connection = new();
    private static readonly ComparedEncoding AuthorityEncoding = new(static (connection, value) => connection.Authority = value);
    private static readonly ComparedEncoding HostEncoding = new(static (connection, value) =>
    {
        if (connection.Authority is { } authority && !authority.Equals(value, StringComparison.OrdinalIgnoreCase))
        {
            throw new DecoderFallbackException("The Host field differs from :authority.");
        }
    });

    /// <summary>The connections of this endpoint are watched. Comes after the TLS middleware.</summary>
    public static IConnectionBuilder UseOneAuthority(this IConnectionBuilder connections) => connections.Use(static next => connection =>
    {
        Connection.Value = new Head();
        return next(connection);
    });

    /// <summary>How a field's value becomes a string: Latin-1 maps each byte to itself (RFC 9110 section 5.5).</summary>
    public static Encoding EncodingOf(string name) =>
        name.Length == Authority.Length && name == Authority && Connection.Value is not null ? AuthorityEncoding
        : name.Length == HeaderNames.Host.Length && name == HeaderNames.Host && Connection.Value is not null ? HostEncoding
        : Encoding.Latin1;

    private sealed class Head
    {
        public string? Authority { get; set; }
    }

    /// <summary>Latin-1, whose results somebody looks at.</summary>
    private sealed class ComparedEncoding(Action<Head, string> look) : Encoding
    {
        public override int GetCharCount(byte[] bytes, int index, int count) => count;

        public override int GetChars(byte[] bytes, int byteIndex, int byteCount, char[] chars, int charIndex)
        {
            var written = Latin1.GetChars(bytes, byteIndex, byteCount, chars, charIndex);
            look(Connection.Value!, new string(chars, charIndex, written));
            return written;
        }

        public override int GetByteCount(char[] chars, int index, int count) => count;

        public override int GetBytes(char[] chars, int charIndex, int charCount, byte[] bytes, int byteIndex) =>
            Latin1.GetBytes(chars, charIndex, charCount, bytes, byteIndex);

        public override int GetMaxByteCount(int charCount) => charCount;

        public override int GetMaxCharCount(int byteCount) => byteCount;
    }
}
