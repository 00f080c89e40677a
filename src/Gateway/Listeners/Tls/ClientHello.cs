using System.Buffers.Binary;
using System.Net.Security;
using System.Text;

namespace Gateway.Listeners.Tls;

/// <summary>A TLS client's first record (RFC 8446 section 4.1.2), looked at before the platform does.</summary>
/// <param name="ServerName">The name that the client wants (RFC 6066 section 3); empty or null when it names none.</param>
/// <param name="IsAcme">Whether an ACME server checks the name by TLS-ALPN-01 (RFC 8737 section 3).</param>
internal readonly record struct ClientHello(string? ServerName, bool IsAcme)
{
    /// <summary>Bytes of the longest record.</summary>
    public const int MaxLength = RecordHead + (16 * 1024);

    /// <summary>What is spoken by ACME servers that check a name.</summary>
    public static readonly SslApplicationProtocol AcmeProtocol = new("acme-tls/1");

    private const int RecordHead = 5;
    private const byte Handshake = 22;

    // A client that wants nothing else (which RFC 8737 demands) has this extension to the byte: type 16 (RFC 7301), its length,
    // the list's length, the name's length, the name.
    private static ReadOnlySpan<byte> AcmeExtension => "\0\x10\0\x0d\0\x0b\nacme-tls/1"u8;

    /// <summary>Reads the record.</summary>
    /// <param name="bytes">What has come so far.</param>
    /// <param name="hello">What the record says.</param>
    /// <returns>True when it is whole, null when more is needed, false when it is none.</returns>
    public static bool? TryParse(ReadOnlySpan<byte> bytes, out ClientHello hello)
    {
        hello = default;
        if (bytes.Length > 0 && bytes[0] != Handshake)
        {
            return false;
        }

        if (bytes.Length < RecordHead)
        {
            return null;
        }

        var length = RecordHead + BinaryPrimitives.ReadUInt16BigEndian(bytes[3..]);
        if (length > MaxLength)
        {
            return false;
        }

        if (bytes.Length < length)
        {
            return null;
        }

        var record = bytes[..length];
        hello = new ClientHello(ServerNameOf(record), record.IndexOf(AcmeExtension) >= 0);
        return true;
    }

    /// <summary>The name that the client wants; empty when it names none.</summary>
    internal static string ServerNameOf(ReadOnlySpan<byte> record)
    {
        // Record head, message head, version, random; then the session, the cipher suites and the compressions, each with its length.
        const int beforeSession = RecordHead + 4 + 2 + 32;
        var rest = record.Length > beforeSession ? record[beforeSession..] : [];
        if (!TrySkip(ref rest, 1) || !TrySkip(ref rest, 2) || !TrySkip(ref rest, 1) || rest.Length < 2)
        {
            return "";
        }

        rest = rest[2..];
        while (rest.Length >= 4)
        {
            var type = BinaryPrimitives.ReadUInt16BigEndian(rest);
            var length = BinaryPrimitives.ReadUInt16BigEndian(rest[2..]);
            if (rest.Length < 4 + length)
            {
                return "";
            }

            // The list's length, the kind (0, a host name), the name's length, the name.
            var extension = rest.Slice(4, length);
            if (type == 0)
            {
                return extension.Length > 5 && extension[2] == 0 && BinaryPrimitives.ReadUInt16BigEndian(extension[3..]) is var name && extension.Length >= 5 + name
                    ? Encoding.ASCII.GetString(extension.Slice(5, name))
                    : "";
            }

            rest = rest[(4 + length)..];
        }

        return "";
    }

    private static bool TrySkip(ref ReadOnlySpan<byte> rest, int lengthBytes)
    {
        if (rest.Length < lengthBytes)
        {
            return false;
        }

        var length = lengthBytes + (lengthBytes == 1 ? rest[0] : BinaryPrimitives.ReadUInt16BigEndian(rest));
        if (rest.Length < length)
        {
            return false;
        }

        rest = rest[length..];
        return true;
    }
}

/// <summary>A connection's feature: its client is an ACME server (<see cref="ClientHello.IsAcme"/>).</summary>
internal sealed class AcmeHelloFeature
{
    public static readonly AcmeHelloFeature Instance = new();
}
