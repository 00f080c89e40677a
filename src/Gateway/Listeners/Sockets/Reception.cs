using System.Net;
using System.Net.Sockets;
using System.Threading.Channels;
using Gateway.Certificates;
using Gateway.Limits;
using Gateway.Listeners.Proxy;
using Gateway.Listeners.Tls;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Sockets;

/// <summary>
/// What happens to a connection before the server knows of it. Thousands of devices that come back at once wait here for their
/// handshake, and each is a socket and no more meanwhile.
/// </summary>
internal sealed partial class Reception : IDisposable
{
    private static readonly TimeSpan BalancerPatience = TimeSpan.FromSeconds(5);

    /// <summary>The handshake's own time limit begins after this.</summary>
    private static readonly TimeSpan HelloPatience = TimeSpan.FromSeconds(10);

    private readonly ConnectionBudget _budget;
    private readonly HandshakeBudget _handshakes;
    private readonly DeviceHandshake _devices;
    private readonly HostNames _hosts;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly IPNetwork[] _balancers;
    private readonly bool _usesAcme;
    private readonly SocketConnectionContextFactory _visitors;

    public Reception(
        ConnectionBudget budget,
        HandshakeBudget handshakes,
        DeviceHandshake devices,
        HostNames hosts,
        IOptions<ListenerOptions> listen,
        IOptions<CertificateOptions> certificates,
        TimeProvider time,
        ILogger<Reception> logger)
    {
        (_budget, _handshakes, _devices, _hosts, _time, _logger) = (budget, handshakes, devices, hosts, time, logger);
        _balancers = [.. listen.Value.ProxyProtocol.Select(static text => IPNetwork.Parse(text))];
        _usesAcme = certificates.Value.UsesAcme;
        _visitors = new SocketConnectionContextFactory(new SocketConnectionFactoryOptions(), logger);
    }

    /// <summary>Finds out who comes.</summary>
    /// <param name="socket">A client's; it is taken over.</param>
    /// <param name="door">Where it came in.</param>
    /// <param name="server">Gets a connection of it; of a device, when its TLS handshake is done.</param>
    /// <param name="stop">The server takes no connection any more.</param>
    public async Task ReceiveAsync(Socket socket, Door door, ChannelWriter<ConnectionContext> server, CancellationToken stop)
    {
        ConnectionUse? use = null;
        var isTaken = false;
        try
        {
            var (client, local) = (socket.RemoteEndPoint, socket.LocalEndPoint);
            socket.NoDelay = client is IPEndPoint;

            // 1. Who it is: a balancer says so.
            if (door.Audience == Audience.Public && IsBalancer(client))
            {
                if (await ReadProxyHeaderAsync(socket, client, stop) is not { } header)
                {
                    return;
                }

                (client, local) = (header.Source ?? client, header.Destination ?? local);
            }

            // 2. Whether there is room.
            if (door.Audience == Audience.Public)
            {
                use = _budget.TryAdmit(client);
                if (use is null)
                {
                    socket.Close(0); // a reset leaves nothing behind on this side
                    return;
                }
            }

            // 3. Which name is wanted.
            var hello = default(ClientHello);
            if (door.IsTls && (door.Audience == Audience.Public || _usesAcme))
            {
                var (isHello, said) = await FirstBytes.PeekAsync<ClientHello>(socket, ClientHello.MaxLength, ClientHello.TryParse, HelloPatience, _time, stop);
                if (isHello is null)
                {
                    return;
                }

                hello = said;
            }

            // 4. A device waits for its turn; a visitor does not.
            if (use is not null && !hello.IsAcme && _hosts.IsTunnel(hello.ServerName))
            {
                isTaken = _handshakes.TryEnter(new Arrival(this, socket, use, client, local, server, stop));
            }
            else
            {
                var connection = _visitors.Create(socket);
                (connection.RemoteEndPoint, connection.LocalEndPoint) = (client, local);
                connection.Features.Set(use);
                connection.Features.Set(hello.IsAcme ? AcmeHelloFeature.Instance : null);
                isTaken = server.TryWrite(connection);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException or OperationCanceledException)
        {
            // The client has gone, or says nothing in time; or the server stops.
        }
        finally
        {
            if (!isTaken)
            {
                use?.Dispose();
                socket.Dispose();
            }
        }
    }

    public void Dispose() => _visitors.Dispose();

    private bool IsBalancer(EndPoint? client)
    {
        if (_balancers.Length == 0 || client is not IPEndPoint { Address: var address })
        {
            return false;
        }

        address = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        return Array.Exists(_balancers, network => network.Contains(address));
    }

    /// <summary>Takes what a balancer says of the connection that it passes on; null when it says nothing of the kind.</summary>
    private async ValueTask<ProxyHeader?> ReadProxyHeaderAsync(Socket socket, EndPoint? balancer, CancellationToken stop)
    {
        bool? isHeader;
        ProxyHeader header;
        try
        {
            (isHeader, header) = await FirstBytes.PeekAsync<ProxyHeader>(socket, ProxyHeader.MaxLength, ProxyHeader.TryParse, BalancerPatience, _time, stop);
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            (isHeader, header) = (false, default);
        }

        if (isHeader == true)
        {
            _ = socket.Receive(new byte[header.Length]); // all of it is there
            return header;
        }

        // A balancer that only looks whether somebody listens says nothing and goes.
        if (isHeader == false)
        {
            LogNoProxyHeader(_logger, balancer);
        }

        return null;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection from the balancer {Balancer} was refused: it did not begin with a PROXY protocol head (Listen:ProxyProtocol)")]
    private static partial void LogNoProxyHeader(ILogger logger, EndPoint? balancer);

    private sealed class Arrival(
        Reception reception, Socket socket, ConnectionUse use, EndPoint? client, EndPoint? local, ChannelWriter<ConnectionContext> server, CancellationToken stop) : HandshakeBudget.IArrival
    {
        public bool IsThere => !stop.IsCancellationRequested && !TcpProgress.HasEnded(socket);

        public void Begin() => _ = BeginAsync();

        public void Leave()
        {
            use.Dispose();
            socket.Dispose();
        }

        private async Task BeginAsync()
        {
            await Task.Yield();
            if (await reception._devices.RunAsync(socket, (client as IPEndPoint)?.Address, stop) is { } tls)
            {
                var connection = new DeviceConnection(socket, tls, use) { RemoteEndPoint = client, LocalEndPoint = local };
                if (server.TryWrite(connection))
                {
                    return;
                }
            }

            Leave();
        }
    }
}
