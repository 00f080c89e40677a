using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Gateway.Limits;

/// <summary>How far the bytes that the kernel was given for a connection have come.</summary>
/// <param name="Acknowledged">Bytes that the other end has (RFC 4898, tcpEStatsAppHCThruOctetsAcked).</param>
/// <param name="IsPending">Whether there are others.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct TcpProgress(long Acknowledged, bool IsPending)
{
    // From linux/tcp.h, struct tcp_info; the platform has no name for it.
    private const int IpProtoTcp = 6;
    private const int TcpInfo = 11;
    private const byte Established = 1;
    private const int UnackedAt = 24;
    private const int BytesAckedAt = 120;
    private const int NotSentAt = 144;

    /// <summary>Whether the other end has sent its last byte, or reset the connection; no where the kernel does not tell.</summary>
    public static bool HasEnded(Socket socket)
    {
        try
        {
            Span<byte> state = stackalloc byte[1];
            return OperatingSystem.IsLinux() && socket.GetRawSocketOption(IpProtoTcp, TcpInfo, state) == 1 && state[0] != Established;
        }
        catch (ObjectDisposedException)
        {
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Asks the kernel; nothing is pending where it does not know: another kernel, or no TCP.</summary>
    public static TcpProgress Of(Socket? socket)
    {
        if (socket is null || !OperatingSystem.IsLinux())
        {
            return default;
        }

        try
        {
            Span<byte> info = stackalloc byte[NotSentAt + sizeof(uint)];
            return socket.GetRawSocketOption(IpProtoTcp, TcpInfo, info) < info.Length
                ? default
                : new TcpProgress(
                    BinaryPrimitives.ReadInt64LittleEndian(info[BytesAckedAt..]),
                    BinaryPrimitives.ReadUInt32LittleEndian(info[UnackedAt..]) + BinaryPrimitives.ReadUInt32LittleEndian(info[NotSentAt..]) > 0);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return default;
        }
    }
}
