using System.Net;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Listeners.Proxy;

/// <summary>
/// Takes who the client is from balancers that speak the PROXY protocol, version 1 or 2. Only configured ones are asked, and from
/// them nothing else is taken; anybody else's such head is no HTTP and no TLS, and is refused as that.
/// </summary>
internal static partial class ProxyProtocol
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    /// <summary>Comes first, before TLS.</summary>
    public static IConnectionBuilder UseProxyProtocol(this IConnectionBuilder connections, IReadOnlyList<IPNetwork> balancers, ILogger logger) =>
        connections.Use(next => connection => IsOneOf(connection.RemoteEndPoint, balancers) ? ReadAsync(connection, next, logger) : next(connection));

    private static bool IsOneOf(EndPoint? client, IReadOnlyList<IPNetwork> balancers)
    {
        if (client is not IPEndPoint { Address: var address })
        {
            return false;
        }

        address = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        foreach (var network in balancers)
        {
            if (network.Contains(address))
            {
                return true;
            }
        }

        return false;
    }

    private static async Task ReadAsync(ConnectionContext connection, ConnectionDelegate next, ILogger logger)
    {
        using (var timeout = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed))
        {
            timeout.CancelAfter(Patience);
            var input = connection.Transport.Input;
            while (true)
            {
                System.IO.Pipelines.ReadResult result;
                try
                {
                    result = await input.ReadAsync(timeout.Token);
                }
                catch (Exception exception) when (exception is OperationCanceledException or IOException)
                {
                    // A balancer that only looks whether somebody listens says nothing and goes.
                    if (!connection.ConnectionClosed.IsCancellationRequested && exception is OperationCanceledException)
                    {
                        LogNone(logger, connection.RemoteEndPoint);
                    }

                    return;
                }

                var parsed = ProxyHeader.TryParse(result.Buffer, out var header, out var length);
                if (parsed == true)
                {
                    input.AdvanceTo(result.Buffer.GetPosition(length));
                    connection.RemoteEndPoint = header.Source ?? connection.RemoteEndPoint;
                    connection.LocalEndPoint = header.Destination ?? connection.LocalEndPoint;
                    break;
                }

                if (parsed == false || result.IsCompleted)
                {
                    if (!result.Buffer.IsEmpty)
                    {
                        LogNone(logger, connection.RemoteEndPoint);
                    }

                    input.AdvanceTo(result.Buffer.End);
                    return;
                }

                input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            }
        }

        await next(connection);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A connection from the balancer {Balancer} was refused: it did not begin with a PROXY protocol head (Listen:ProxyProtocol)")]
    private static partial void LogNone(ILogger logger, EndPoint? balancer);
}
