using System.Buffers.Binary;
using System.Net.Sockets;

namespace Tunnel.Protocol;

/// <summary>
/// Lets the kernel notice a peer that is gone (RFC 9293 section 3.8.4, RFC 5482): no memory and no timer of ours, and
/// few bytes on an idle connection.
/// </summary>
public static class TcpLiveness
{
    private const int ProbeIntervalSeconds = 5;
    private const int Probes = 3;

    // From linux/tcp.h; the platform has no name for it.
    private const int IpProtoTcp = 6;
    private const int TcpUserTimeout = 18;

    /// <summary>
    /// Probes an idle connection after <paramref name="idle"/>, 3 times, 5 s apart; and gives up on sent bytes that were
    /// not acknowledged for the same time in all. Kernels without such an option keep their default.
    /// </summary>
    public static void Apply(Socket socket, TimeSpan idle)
    {
        try
        {
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, (int)Math.Ceiling(idle.TotalSeconds));
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, ProbeIntervalSeconds);
            socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
            if (OperatingSystem.IsLinux())
            {
                Span<byte> milliseconds = stackalloc byte[sizeof(int)];
                BinaryPrimitives.WriteInt32LittleEndian(milliseconds, (int)idle.TotalMilliseconds + (ProbeIntervalSeconds * Probes * 1000));
                socket.SetRawSocketOption(IpProtoTcp, TcpUserTimeout, milliseconds);
            }
        }
        catch (SocketException)
        {
            // A Unix domain socket, or a kernel that knows less: the default stays.
        }
    }
}
