using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Tunnel.Protocol.GatewaySide;

/// <summary>The head of a frame of HTTP/2 (RFC 9113 section 4.1).</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct FrameHead(int Length, byte Type, byte Flags, int StreamId);

/// <summary>Finds the heads of frames in a stream of bytes, however it is cut.</summary>
/// <param name="preface">Bytes before the first frame.</param>
[StructLayout(LayoutKind.Auto)]
internal struct FrameHeads(int preface)
{
    private const int HeadLength = 9;

    private Head _head;
    private int _filled;
    private int _skip = preface;

    /// <summary>Goes on to the end of the next head; false when the bytes end before it.</summary>
    /// <param name="bytes">What follows in the stream; what was read is taken off.</param>
    /// <param name="head">The head.</param>
    public bool TryRead(ref ReadOnlySpan<byte> bytes, out FrameHead head)
    {
        head = default;
        var skipped = Math.Min(_skip, bytes.Length);
        _skip -= skipped;
        bytes = bytes[skipped..];

        Span<byte> all = _head;
        var count = Math.Min(HeadLength - _filled, bytes.Length);
        bytes[..count].CopyTo(all[_filled..]);
        bytes = bytes[count..];
        _filled += count;
        if (_filled < HeadLength)
        {
            return false;
        }

        _filled = 0;
        _skip = all[0] << 16 | all[1] << 8 | all[2];
        head = new FrameHead(_skip, all[3], all[4], (all[5] & 0x7f) << 24 | all[6] << 16 | all[7] << 8 | all[8]);
        return true;
    }

    [InlineArray(HeadLength)]
    private struct Head
    {
        private byte _first;
    }
}
