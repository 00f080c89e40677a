using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;

namespace Gateway.Listeners.Proxy;

/// <summary>
/// What a balancer says of the connection that it passes on, in version 1 or 2 of the PROXY protocol. Only configured balancers are
/// asked, and from them nothing else is taken; anybody else's such head is no HTTP and no TLS, and is refused as that.
/// </summary>
/// <param name="Source">The client; null when the connection is the balancer's own (a health check).</param>
/// <param name="Destination">Where the client connected to; null as above.</param>
/// <param name="Length">Bytes of the head.</param>
internal readonly record struct ProxyHeader(IPEndPoint? Source, IPEndPoint? Destination, int Length)
{
    /// <summary>Bytes that a head may have.</summary>
    public const int MaxLength = BinaryHeadLength + ushort.MaxValue;

    private const int MaxLineLength = 107;
    private const int BinaryHeadLength = 16;

    private static ReadOnlySpan<byte> LinePrefix => "PROXY "u8;

    private static ReadOnlySpan<byte> Signature => "\r\n\r\n\0\r\nQUIT\n"u8;

    /// <summary>Reads the head.</summary>
    /// <param name="bytes">What has come so far.</param>
    /// <param name="header">The head.</param>
    /// <returns>True when it is whole, null when more is needed, false when it is none.</returns>
    public static bool? TryParse(ReadOnlySpan<byte> bytes, out ProxyHeader header)
    {
        header = default;
        if (IsBegun(bytes, LinePrefix))
        {
            return ParseLine(bytes, out header);
        }

        if (!IsBegun(bytes, Signature))
        {
            return bytes.IsEmpty ? null : false;
        }

        if (bytes.Length < BinaryHeadLength)
        {
            return null;
        }

        var length = BinaryHeadLength + BinaryPrimitives.ReadUInt16BigEndian(bytes[14..]);
        return bytes.Length < length ? null : ParseBinary(bytes[..length], out header);
    }

    private static bool IsBegun(ReadOnlySpan<byte> start, ReadOnlySpan<byte> prefix) =>
        !start.IsEmpty && (start.Length < prefix.Length ? prefix.StartsWith(start) : start.StartsWith(prefix));

    // PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
    private static bool? ParseLine(ReadOnlySpan<byte> bytes, out ProxyHeader header)
    {
        header = default;
        bytes = bytes[..Math.Min(bytes.Length, MaxLineLength)];
        var end = bytes.IndexOf("\r\n"u8);
        if (end < 0)
        {
            return bytes.Length < MaxLineLength ? null : false;
        }

        header = new ProxyHeader(null, null, end + 2);
        var words = Encoding.ASCII.GetString(bytes[..end]).Split(' ');
        if (words is ["PROXY", "UNKNOWN", ..])
        {
            return true;
        }

        if (words is not ["PROXY", "TCP4" or "TCP6", var source, var destination, var sourcePort, var destinationPort]
            || !TryEndPoint(source, sourcePort, out var from) || !TryEndPoint(destination, destinationPort, out var to))
        {
            return false;
        }

        header = header with { Source = from, Destination = to };
        return true;
    }

    private static bool TryEndPoint(string address, string port, out IPEndPoint? endPoint)
    {
        endPoint = IPAddress.TryParse(address, out var parsed) && ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? new IPEndPoint(parsed, number) : null;
        return endPoint is not null;
    }

    private static bool ParseBinary(ReadOnlySpan<byte> head, out ProxyHeader header)
    {
        header = new ProxyHeader(null, null, head.Length);
        if (head[12] >> 4 != 2)
        {
            return false;
        }

        switch (head[12] & 0xf)
        {
            case 0: // LOCAL: whatever follows is skipped
                return true;
            case 1: // PROXY
                break;
            default:
                return false;
        }

        // Family and transport: TCP over IPv4, over IPv6; others are taken as they come, without addresses.
        var size = head[13] switch { 0x11 => 4, 0x21 => 16, _ => 0 };
        if (size == 0)
        {
            return head[13] is 0x00 or 0x31;
        }

        var body = head[BinaryHeadLength..];
        if (body.Length < (2 * size) + 4)
        {
            return false;
        }

        header = header with
        {
            Source = new IPEndPoint(new IPAddress(body[..size]), BinaryPrimitives.ReadUInt16BigEndian(body[(2 * size)..])),
            Destination = new IPEndPoint(new IPAddress(body[size..(2 * size)]), BinaryPrimitives.ReadUInt16BigEndian(body[((2 * size) + 2)..])),
        };
        return true;
    }
}
