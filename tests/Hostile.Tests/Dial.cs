using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>Visitors from addresses of their own: all of 127.0.0.0/8 is this machine.</summary>
internal static class Dial
{
    /// <summary>A connection from an address; it may be closed at once.</summary>
    public static async Task<RawConnection> FromAsync(string address, int port)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.Bind(new IPEndPoint(IPAddress.Parse(address), 0));
        await socket.ConnectAsync(IPAddress.Loopback, port);
        return new RawConnection(new NetworkStream(socket, ownsSocket: true));
    }

    /// <summary>The whole answer to one request, to the end of its connection; empty when the connection was closed at once.</summary>
    public static async Task<string> AskAsync(string address, TestGateway gateway, string host, string fields = "")
    {
        RawConnection? visitor = null;
        try
        {
            visitor = await FromAsync(address, gateway.HttpPort);
            await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n");
            return await visitor.ReadToEndAsync();
        }
        catch (Exception exception) when (exception is IOException or SocketException { SocketErrorCode: SocketError.ConnectionReset })
        {
            return "";
        }
        finally
        {
            await (visitor?.DisposeAsync() ?? ValueTask.CompletedTask);
        }
    }

    /// <summary>The status of an answer; 0 for none.</summary>
    public static int StatusOf(string answer) => answer.Length == 0 ? 0 : int.Parse(answer[9..12]);
}
