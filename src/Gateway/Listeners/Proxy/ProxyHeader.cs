using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;

namespace Gateway.Listeners.Proxy;

/// <summary>What a balancer says of the connection that it passes on.</summary>
/// <param name="Source">The client; null when the connection is the balancer's own (a health check).</param>
/// <param name="Destination">Where the client connected to; null as above.</param>
internal readonly record struct ProxyHeader(IPEndPoint? Source, IPEndPoint? Destination)
{
    private const int MaxLineLength = 107;
    private const int BinaryHeadLength = 16;

    private static ReadOnlySpan<byte> LinePrefix => "PROXY "u8;

    private static ReadOnlySpan<byte> Signature => "\r\n\r\n\0\r\nQUIT\n"u8;

    /// <summary>Reads the head of version 1 or 2 of the PROXY protocol.</summary>
    /// <param name="buffer">What has come so far.</param>
    /// <param name="header">The head.</param>
    /// <param name="length">How many bytes it takes.</param>
    /// <returns>True when it is whole, null when more is needed, false when it is none.</returns>
    public static bool? TryParse(in ReadOnlySequence<byte> buffer, out ProxyHeader header, out int length)
    {
        header = default;
        length = 0;
        Span<byte> start = stackalloc byte[BinaryHeadLength];
        start = start[..(int)Math.Min(buffer.Length, BinaryHeadLength)];
        buffer.Slice(0, start.Length).CopyTo(start);
        if (IsBegun(start, LinePrefix))
        {
            return ParseLine(buffer, out header, out length);
        }

        if (!IsBegun(start, Signature))
        {
            return start.IsEmpty ? null : false;
        }

        if (start.Length < BinaryHeadLength)
        {
            return null;
        }

        length = BinaryHeadLength + BinaryPrimitives.ReadUInt16BigEndian(start[14..]);
        return buffer.Length < length ? null : ParseBinary(start, buffer.Slice(BinaryHeadLength, length - BinaryHeadLength).ToArray(), out header);
    }

    private static bool IsBegun(ReadOnlySpan<byte> start, ReadOnlySpan<byte> prefix) =>
        !start.IsEmpty && (start.Length < prefix.Length ? prefix.StartsWith(start) : start.StartsWith(prefix));

    // PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
    private static bool? ParseLine(in ReadOnlySequence<byte> buffer, out ProxyHeader header, out int length)
    {
        header = default;
        length = 0;
        var bytes = buffer.Slice(0, Math.Min(buffer.Length, MaxLineLength)).ToArray();
        var end = bytes.AsSpan().IndexOf("\r\n"u8);
        if (end < 0)
        {
            return buffer.Length < MaxLineLength ? null : false;
        }

        length = end + 2;
        var words = Encoding.ASCII.GetString(bytes, 0, end).Split(' ');
        if (words is ["PROXY", "UNKNOWN", ..])
        {
            return true;
        }

        if (words is not ["PROXY", "TCP4" or "TCP6", var source, var destination, var sourcePort, var destinationPort]
            || !TryEndPoint(source, sourcePort, out var from) || !TryEndPoint(destination, destinationPort, out var to))
        {
            return false;
        }

        header = new ProxyHeader(from, to);
        return true;
    }

    private static bool TryEndPoint(string address, string port, out IPEndPoint? endPoint)
    {
        endPoint = IPAddress.TryParse(address, out var parsed) && ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? new IPEndPoint(parsed, number) : null;
        return endPoint is not null;
    }

    private static bool ParseBinary(ReadOnlySpan<byte> start, ReadOnlySpan<byte> body, out ProxyHeader header)
    {
        header = default;
        if (start[12] >> 4 != 2)
        {
            return false;
        }

        switch (start[12] & 0xf)
        {
            case 0: // LOCAL: whatever follows is skipped
                return true;
            case 1: // PROXY
                break;
            default:
                return false;
        }

        // Family and transport: TCP over IPv4, over IPv6; others are taken as they come, without addresses.
        var size = start[13] switch { 0x11 => 4, 0x21 => 16, _ => 0 };
        if (size == 0)
        {
            return start[13] is 0x00 or 0x31;
        }

        if (body.Length < (2 * size) + 4)
        {
            return false;
        }

        header = new ProxyHeader(
            new IPEndPoint(new IPAddress(body[..size]), BinaryPrimitives.ReadUInt16BigEndian(body[(2 * size)..])),
            new IPEndPoint(new IPAddress(body[size..(2 * size)]), BinaryPrimitives.ReadUInt16BigEndian(body[((2 * size) + 2)..])));
        return true;
    }
}
