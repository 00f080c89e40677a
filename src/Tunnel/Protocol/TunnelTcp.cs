using System.Buffers.Binary;
using System.Net.Sockets;

namespace Tunnel.Protocol;

/// <summary>
/// What a tunnel asks of TCP. The kernel notices a peer that is gone (RFC 9293 section 3.8.4, RFC 5482): no memory and no timer of ours,
/// and few bytes on an idle connection. And it takes little more than the line carries: a small response waits behind what has been
/// handed to the kernel before it, which would else be megabytes of a download on a slow line.
/// </summary>
public static class TunnelTcp
{
    /// <summary>Bytes that may wait in the kernel before they are sent for the first time.</summary>
    internal const int NotSentLimit = 128 * 1024;

    private const int Probes = 3;

    // From linux/tcp.h; the platform has no name for it.
    private const int IpProtoTcp = 6;
    private const int TcpUserTimeout = 18;
    private const int TcpNotSentLowWatermark = 25;

    /// <summary>
    /// A peer that has vanished is noticed after <paramref name="deadAfter"/>: an idle connection is probed from half of it
    /// on, three times; sent bytes may stay unacknowledged for as long in all. In whole seconds, at least 6. Kernels without
    /// such an option keep their default.
    /// </summary>
    public static void Apply(Socket socket, TimeSpan deadAfter)
    {
        var interval = Math.Max(1, (int)(deadAfter.TotalSeconds / 2 / Probes));
        var idle = Math.Max(1, (int)deadAfter.TotalSeconds - (interval * Probes));
        try
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, idle);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, interval);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
            if (OperatingSystem.IsLinux())
            {
                Span<byte> value = stackalloc byte[sizeof(int)];
                BinaryPrimitives.WriteInt32LittleEndian(value, (int)deadAfter.TotalMilliseconds);
                socket.SetRawSocketOption(IpProtoTcp, TcpUserTimeout, value);
                BinaryPrimitives.WriteInt32LittleEndian(value, NotSentLimit);
                socket.SetRawSocketOption(IpProtoTcp, TcpNotSentLowWatermark, value);
            }
        }
        catch (SocketException)
        {
            // A Unix domain socket, or a kernel that knows less: the default stays.
        }
    }
}
