using System.Buffers;
using System.Buffers.Binary;
using System.Net.Security;
using System.Text;
using Tunnel.Protocol;

namespace IdleTunnels;

/// <summary>
/// A device's end of a tunnel that answers every request with 200 and the device's uuid (HTTP/2, RFC 9113). It does not read what is
/// asked, and holds no buffer while nobody asks.
/// </summary>
internal sealed class Answerer(SslStream stream, DeviceUuid uuid)
{
    private const int HeadLength = 9;

    /// <summary>The client's connection preface (RFC 9113 section 3.4).</summary>
    private const int PrefaceLength = 24;

    /// <summary>Room for a frame of the largest size that may come without our consent, 16 KiB, and the beginning of another.</summary>
    private const int BufferLength = 32 * 1024;

    private const byte Data = 0;
    private const byte Headers = 1;
    private const byte Settings = 4;
    private const byte Ping = 6;
    private const byte Continuation = 9;
    private const byte EndStream = 1;
    private const byte Ack = 1;
    private const byte EndHeaders = 4;

    private bool _begun;

    /// <summary>A stream whose HEADERS ended it but go on in CONTINUATION; 0 for none.</summary>
    private int _endingStream;

    /// <summary>Runs until the tunnel ends.</summary>
    public async Task RunAsync()
    {
        try
        {
            while (true)
            {
                _ = await stream.ReadAsync(Memory<byte>.Empty);
                if (!await AnswerAsync())
                {
                    break;
                }
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The tunnel has ended.
        }

        await stream.DisposeAsync();
    }

    /// <summary>Answers what is there, up to the end of a frame.</summary>
    /// <returns>False when the gateway has ended the tunnel.</returns>
    private async Task<bool> AnswerAsync()
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferLength);
        try
        {
            var length = 0;
            do
            {
                var read = await stream.ReadAsync(buffer.AsMemory(length));
                if (read == 0)
                {
                    return false;
                }

                length += read;
                var answer = new ArrayBufferWriter<byte>();
                var used = Take(buffer.AsSpan(0, length), answer);
                if (answer.WrittenCount > 0)
                {
                    await stream.WriteAsync(answer.WrittenMemory);
                }

                buffer.AsSpan(used, length - used).CopyTo(buffer);
                length -= used;
            }
            while (length > 0);
            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>Takes whole frames.</summary>
    /// <returns>How many bytes they have.</returns>
    private int Take(ReadOnlySpan<byte> bytes, ArrayBufferWriter<byte> answer)
    {
        var used = 0;
        if (!_begun)
        {
            if (bytes.Length < PrefaceLength)
            {
                return 0;
            }

            _begun = true;
            used = PrefaceLength;
            Write(answer, Settings, 0, 0, []);
        }

        while (bytes.Length - used >= HeadLength)
        {
            var head = bytes.Slice(used, HeadLength);
            var length = head[0] << 16 | head[1] << 8 | head[2];
            if (bytes.Length - used < HeadLength + length)
            {
                break;
            }

            Answer(head[3], head[4], BinaryPrimitives.ReadInt32BigEndian(head[5..]) & int.MaxValue, bytes.Slice(used + HeadLength, length), answer);
            used += HeadLength + length;
        }

        return used;
    }

    private void Answer(byte type, byte flags, int streamId, ReadOnlySpan<byte> payload, ArrayBufferWriter<byte> answer)
    {
        switch (type)
        {
            case Settings when (flags & Ack) == 0:
                Write(answer, Settings, Ack, 0, []);
                break;
            case Ping when (flags & Ack) == 0:
                Write(answer, Ping, Ack, 0, payload);
                break;
            case Headers when (flags & EndStream) != 0 && (flags & EndHeaders) == 0:
                _endingStream = streamId;
                break;
            case Continuation when (flags & EndHeaders) != 0 && _endingStream == streamId:
                _endingStream = 0;
                Respond(streamId, answer);
                break;
            case Headers or Data when (flags & EndStream) != 0:
                Respond(streamId, answer);
                break;
        }
    }

    private void Respond(int streamId, ArrayBufferWriter<byte> answer)
    {
        var text = Encoding.ASCII.GetBytes(uuid.ToString());

        // HPACK (RFC 7541): ":status: 200" is entry 8 of the static table; content-length, entry 28, takes a literal value.
        Write(answer, Headers, EndHeaders, streamId, [0x88, 0x0f, 0x0d, 0x02, (byte)('0' + text.Length / 10), (byte)('0' + text.Length % 10)]);
        Write(answer, Data, EndStream, streamId, text);
    }

    private static void Write(ArrayBufferWriter<byte> answer, byte type, byte flags, int streamId, ReadOnlySpan<byte> payload)
    {
        var frame = answer.GetSpan(HeadLength + payload.Length);
        (frame[0], frame[1], frame[2], frame[3], frame[4]) = (0, (byte)(payload.Length >> 8), (byte)payload.Length, type, flags);
        BinaryPrimitives.WriteInt32BigEndian(frame[5..], streamId);
        payload.CopyTo(frame[HeadLength..]);
        answer.Advance(HeadLength + payload.Length);
    }
}
