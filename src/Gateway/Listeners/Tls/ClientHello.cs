using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Text;

namespace Gateway.Listeners.Tls;

/// <summary>A TLS client's first record (RFC 8446 section 4.1.2), looked at before the platform does; nothing is taken from the connection.</summary>
internal static class ClientHello
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private const int RecordHead = 5;
    private const byte Handshake = 22;

    /// <summary>Waits for the record.</summary>
    /// <returns>Null when the client says nothing in time, or is gone; empty when what it says is no handshake, or one in several records.</returns>
    public static async ValueTask<byte[]?> PeekAsync(PipeReader input, CancellationToken closed)
    {
        // The handshake's own time limit begins after this.
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(closed);
        patience.CancelAfter(Patience);
        long examined = 0;
        while (true)
        {
            ReadResult result;
            try
            {
                result = await input.ReadAsync(patience.Token);
            }
            catch (Exception exception) when (exception is OperationCanceledException or IOException)
            {
                return null;
            }

            var buffer = result.Buffer;
            var record = Read(buffer);
            if (record is not null || result.IsCompleted)
            {
                // Nothing is consumed. What was examined before stays so, and the rest is read again at once.
                input.AdvanceTo(buffer.Start, buffer.GetPosition(examined));
                return record ?? [];
            }

            examined = buffer.Length;
            input.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>The name that the client wants (RFC 6066 section 3); empty when it names none.</summary>
    public static string ServerNameOf(ReadOnlySpan<byte> record)
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

    // Null while the record is not complete.
    private static byte[]? Read(in ReadOnlySequence<byte> buffer)
    {
        Span<byte> head = stackalloc byte[RecordHead];
        buffer.Slice(0, Math.Min(RecordHead, buffer.Length)).CopyTo(head);
        if (buffer.Length < RecordHead)
        {
            return buffer.Length > 0 && head[0] != Handshake ? [] : null;
        }

        var length = RecordHead + BinaryPrimitives.ReadUInt16BigEndian(head[3..]);
        if (head[0] != Handshake || length > 16 * 1024 + RecordHead)
        {
            return [];
        }

        return buffer.Length < length ? null : buffer.Slice(0, length).ToArray();
    }
}
