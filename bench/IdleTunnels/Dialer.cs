using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Tunnel.Protocol;

namespace IdleTunnels;

/// <summary>Dials tunnels of many devices, some at once.</summary>
internal sealed class Dialer(int port, X509ChainPolicy policy, byte process)
{
    private const string Host = "tunnel.localhost";
    private const int AtOnce = 32;
    private const int Attempts = 20;

    private static readonly TimeSpan MaxPause = TimeSpan.FromSeconds(2);

    /// <summary>A source address has about 28,000 ports: many tunnels need several.</summary>
    private const int Sources = 200;

    /// <summary>TCP_INFO (tcp(7)), and where its tcpi_bytes_received is.</summary>
    private const int TcpLevel = 6;
    private const int TcpInfo = 11;
    private const int BytesReceivedOffset = 128;

    /// <summary>Whether TLS sessions are resumed (RFC 8446 section 2.2).</summary>
    public bool Resumes { get; set; } = true;

    /// <summary>Dials devices until all are connected.</summary>
    /// <param name="first">The number of the first of them.</param>
    public async Task<(SslStream[] Tunnels, long HandshakeBytes, int Repeated)> DialAsync(ReadOnlyMemory<(DeviceUuid Uuid, string Key)> devices, int first)
    {
        var tunnels = new SslStream[devices.Length];
        var bytes = new long[devices.Length];
        var (next, repeated) = (-1, 0);
        await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(async _ =>
        {
            int i;
            while ((i = Interlocked.Increment(ref next)) < devices.Length)
            {
                for (var attempt = 1; ; attempt++)
                {
                    try
                    {
                        (tunnels[i], bytes[i]) = await DialAsync(devices.Span[i], first + i);
                        break;
                    }
                    catch (Exception exception) when (attempt < Attempts && exception is IOException or SocketException or AuthenticationException)
                    {
                        // The gateway is busy, as one may be with thousands at once.
                        Interlocked.Increment(ref repeated);
                        await Task.Delay(TimeSpan.FromMilliseconds(Math.Min(200 * attempt, MaxPause.TotalMilliseconds)));
                    }
                }
            }
        }));
        Array.Sort(bytes);
        return (tunnels, bytes.Length == 0 ? 0 : bytes[bytes.Length / 2], repeated);
    }

    private async Task<(SslStream Tunnel, long HandshakeBytes)> DialAsync((DeviceUuid Uuid, string Key) device, int number)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        SslStream? stream = null;
        try
        {
            socket.Bind(new IPEndPoint(new IPAddress([127, 1, process, (byte)(1 + (number % Sources))]), 0));
            await socket.ConnectAsync(IPAddress.Loopback, port);
            stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
            await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = Host, CertificateChainPolicy = policy.Clone(), AllowTlsResume = Resumes });
            var received = BytesReceived(socket);
            await stream.WriteAsync(Encoding.ASCII.GetBytes(
                $"GET {TunnelProtocol.PathOf(device.Uuid)} HTTP/1.1\r\nHost: {Host}\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {device.Key}\r\n\r\n"));
            var answer = new byte[1024];
            var length = await stream.ReadAsync(answer);
            var head = Encoding.ASCII.GetString(answer, 0, length);
            if (!head.StartsWith("HTTP/1.1 101", StringComparison.Ordinal))
            {
                throw new IOException($"No tunnel: {head}");
            }

            _ = new Answerer(stream, device.Uuid).RunAsync();
            return (stream, received);
        }
        catch
        {
            stream?.Dispose();
            socket.Dispose();
            throw;
        }
    }

    /// <summary>What has come by now: a resumed handshake has no certificate in it.</summary>
    private static long BytesReceived(Socket socket)
    {
        Span<byte> info = stackalloc byte[256];
        info.Clear();
        socket.GetRawSocketOption(TcpLevel, TcpInfo, info);
        return BinaryPrimitives.ReadInt64LittleEndian(info[BytesReceivedOffset..]);
    }
}
