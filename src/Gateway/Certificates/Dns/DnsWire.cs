using System.Buffers.Binary;
using System.Text;

namespace Gateway.Certificates.Dns;

/// <summary>The record types (RFC 1035, RFC 6891, RFC 8945) that are spoken of here.</summary>
internal enum DnsType : ushort
{
    A = 1,
    Ns = 2,
    Soa = 6,
    Txt = 16,
    Opt = 41,
    Tsig = 250,
    Any = 255,
}

/// <summary>The response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2).</summary>
internal enum DnsCode : byte
{
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NameError = 3,
    NotImplemented = 4,
    Refused = 5,
    NotAuthoritative = 9,
}

/// <summary>Writes DNS messages (RFC 1035 section 4).</summary>
internal sealed class DnsWriter
{
    private readonly List<byte> _bytes = [];

    public int Length => _bytes.Count;

    public DnsWriter U8(int value)
    {
        _bytes.Add((byte)value);
        return this;
    }

    public DnsWriter U16(int value) => U8(value >> 8).U8(value);

    public DnsWriter U32(long value) => U16((int)(value >> 16)).U16((int)value);

    public DnsWriter Bytes(ReadOnlySpan<byte> value)
    {
        _bytes.AddRange(value);
        return this;
    }

    /// <summary>A name, not compressed. One that came in a question keeps its case.</summary>
    public DnsWriter Name(string name)
    {
        foreach (var label in name.TrimEnd('.').Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            U8(label.Length).Bytes(Encoding.ASCII.GetBytes(label));
        }

        return U8(0);
    }

    /// <summary>A record, up to its data.</summary>
    public DnsWriter Record(string name, DnsType type, int @class, int ttl, ReadOnlySpan<byte> data) =>
        Name(name).U16((int)type).U16(@class).U32(ttl).U16(data.Length).Bytes(data);

    /// <summary>Overwrites two bytes: a count that is known now.</summary>
    public void Patch(int offset, int value) => (_bytes[offset], _bytes[offset + 1]) = ((byte)(value >> 8), (byte)value);

    public byte[] ToArray() => [.. _bytes];

    /// <summary>The data of a TXT record: strings of at most 255 bytes (RFC 1035 section 3.3.14).</summary>
    public static byte[] Text(string value)
    {
        var bytes = Encoding.ASCII.GetBytes(value);
        return bytes.Length <= 255 ? [(byte)bytes.Length, .. bytes] : throw new ArgumentException("The text is longer than a string of a TXT record.", nameof(value));
    }
}

/// <summary>Reads DNS messages from strangers: every length is checked.</summary>
internal ref struct DnsReader(ReadOnlySpan<byte> message)
{
    public const int HeadLength = 12;

    private const int MaxNameLength = 255;

    private readonly ReadOnlySpan<byte> _message = message;

    /// <summary>Where the next field begins.</summary>
    public int Position { get; set; } = HeadLength;

    public readonly int Id => BinaryPrimitives.ReadUInt16BigEndian(_message);

    public readonly int Flags => BinaryPrimitives.ReadUInt16BigEndian(_message[2..]);

    /// <summary>How many records a section has: 0 question (zone), 1 answer (prerequisite), 2 authority (update), 3 additional.</summary>
    public readonly int Count(int section) => BinaryPrimitives.ReadUInt16BigEndian(_message[(4 + (2 * section))..]);

    public bool TryU16(out int value)
    {
        value = 0;
        if (Position + 2 > _message.Length)
        {
            return false;
        }

        value = BinaryPrimitives.ReadUInt16BigEndian(_message[Position..]);
        Position += 2;
        return true;
    }

    /// <summary>Reads a name, following pointers backwards only, so that there is an end (RFC 1035 section 4.1.4).</summary>
    public bool TryName(out string name)
    {
        var text = new StringBuilder();
        var position = Position;
        var bound = position;
        var jumped = false;
        name = "";
        while (position < _message.Length)
        {
            int length = _message[position];
            if (length == 0)
            {
                if (!jumped)
                {
                    Position = position + 1;
                }

                name = text.ToString();
                return true;
            }

            if ((length & 0xc0) == 0xc0)
            {
                if (position + 1 >= _message.Length)
                {
                    return false;
                }

                var target = (length & 0x3f) << 8 | _message[position + 1];
                if (!jumped)
                {
                    Position = position + 2;
                    jumped = true;
                }

                if (target >= bound)
                {
                    return false;
                }

                position = bound = target;
                continue;
            }

            if (length > 63 || position + 1 + length > _message.Length || text.Length + length + 1 > MaxNameLength)
            {
                return false;
            }

            if (text.Length > 0)
            {
                text.Append('.');
            }

            text.Append(Encoding.Latin1.GetString(_message.Slice(position + 1, length)));
            position += 1 + length;
        }

        return false;
    }

    /// <summary>Reads a record.</summary>
    public bool TryRecord(out string name, out DnsType type, out int @class, out ReadOnlySpan<byte> data)
    {
        type = default;
        @class = 0;
        data = default;
        if (!TryName(out name) || !TryU16(out var t) || !TryU16(out @class) || !TryU16(out _) || !TryU16(out _) || !TryU16(out var length) || Position + length > _message.Length)
        {
            return false;
        }

        type = (DnsType)t;
        data = _message.Slice(Position, length);
        Position += length;
        return true;
    }
}
