using System.Buffers.Binary;
using System.Text;

namespace Gateway.Tests.Attackers;

/// <summary>Frames of HTTP/2 (RFC 9113 section 4.1), whatever is asked for: nothing is checked.</summary>
internal static class Http2Writer
{
    public static byte[] Preface => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();

    public static byte[] Frame(byte type, byte flags, int stream, ReadOnlySpan<byte> payload, int? length = null)
    {
        var frame = new byte[9 + payload.Length];
        BinaryPrimitives.WriteInt32BigEndian(frame, (length ?? payload.Length) << 8);
        (frame[3], frame[4]) = (type, flags);
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), stream);
        payload.CopyTo(frame.AsSpan(9));
        return frame;
    }

    /// <summary>Four bytes, as windows, error codes and settings' values are.</summary>
    public static byte[] Number(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    /// <summary>One parameter of SETTINGS.</summary>
    public static byte[] Setting(ushort id, uint value)
    {
        var bytes = new byte[6];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, id);
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(2), value);
        return bytes;
    }

    /// <summary>Fields, each a literal that is not indexed (RFC 7541 section 6.2.2).</summary>
    public static byte[] Fields(params (string Name, string Value)[] fields)
    {
        var block = new List<byte>();
        foreach (var (name, value) in fields)
        {
            block.Add(0);
            Add(name);
            Add(value);
        }

        return [.. block];

        void Add(string text)
        {
            // A length of seven bits and more (RFC 7541 section 5.1).
            var rest = text.Length - 127;
            block.Add((byte)Math.Min(text.Length, 127));
            for (; rest >= 128; rest >>= 7)
            {
                block.Add((byte)(0x80 | (rest & 0x7f)));
            }

            if (text.Length >= 127)
            {
                block.Add((byte)rest);
            }

            block.AddRange(Encoding.Latin1.GetBytes(text));
        }
    }

    /// <summary>The same bytes many times, so that a flood is not slowed by its writer.</summary>
    public static byte[] Repeat(int times, Func<int, byte[]> part)
    {
        using var all = new MemoryStream();
        for (var i = 0; i < times; i++)
        {
            all.Write(part(i));
        }

        return all.ToArray();
    }
}
