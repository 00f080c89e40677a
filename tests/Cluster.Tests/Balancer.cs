using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>A balancer of bare TCP: each connection goes to the next node that accepts it.</summary>
internal sealed class Balancer : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly int[] _ports;
    private readonly Task _accepting;
    private int _next;

    public Balancer(IEnumerable<int> ports)
    {
        _ports = [.. ports];
        _listener.Start();
        Port = ((IPEndPoint)_listener.LocalEndpoint).Port;
        _accepting = AcceptAsync();
    }

    public int Port { get; }

    public async ValueTask DisposeAsync()
    {
        _listener.Dispose();
        await Eventually.EndsAsync(_accepting, "the balancer's end");
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = RelayAsync(await _listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // The listener has ended.
        }
    }

    private async Task RelayAsync(TcpClient client)
    {
        using (client)
        {
            for (var attempt = 0; attempt < _ports.Length; attempt++)
            {
                using var node = new TcpClient();
                try
                {
                    await node.ConnectAsync(IPAddress.Loopback, _ports[Interlocked.Increment(ref _next) % _ports.Length]);
                }
                catch (SocketException)
                {
                    continue;
                }

                await Task.WhenAll(CopyAsync(client.Client, node.Client), CopyAsync(node.Client, client.Client));
                return;
            }
        }
    }

    private static async Task CopyAsync(Socket from, Socket to)
    {
        var buffer = new byte[16 * 1024];
        try
        {
            while (await from.ReceiveAsync(buffer) is > 0 and var count)
            {
                await to.SendAsync(buffer.AsMemory(0, count));
            }

            to.Shutdown(SocketShutdown.Send);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            from.Close();
            to.Close();
        }
    }
}
