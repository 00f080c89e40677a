using System.Buffers.Binary;
using System.Net;
using System.Runtime.InteropServices;

namespace Gateway.Limits;

/// <summary>What counts as one visitor: an IPv4 address, or the /64 of an IPv6 address, which is the least that a subscriber has (RFC 6177).</summary>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct NetworkKey(ulong Bits, bool IsVersion6)
{
    public static NetworkKey Of(IPAddress address)
    {
        Span<byte> bytes = stackalloc byte[16];
        _ = address.TryWriteBytes(bytes, out var length);
        return length == 4 ? new NetworkKey(BinaryPrimitives.ReadUInt32BigEndian(bytes), false)
            : address.IsIPv4MappedToIPv6 ? new NetworkKey(BinaryPrimitives.ReadUInt32BigEndian(bytes[12..]), false)
            : new NetworkKey(BinaryPrimitives.ReadUInt64BigEndian(bytes), true);
    }
}
