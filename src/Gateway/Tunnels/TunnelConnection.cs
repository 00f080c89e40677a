using System.Net.Security;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Gateway.Tunnels;

/// <summary>
/// A TLS connection that may become a tunnel. What the server needs to speak HTTP/1.1 on it, about 6 KB, would be kept for as long as
/// a request that was upgraded lasts; a device's request ends with the 101 instead, and its tunnel goes on by the TLS stream itself.
/// </summary>
internal sealed class TunnelConnection(ConnectionContext connection, SslStream tls) : IConnectionHeartbeatFeature
{
    private readonly List<(Action<object> Action, object State)> _heartbeats = [];
    private bool _isTaken;
    private Task? _life;

    /// <summary>The connection, decrypted.</summary>
    public SslStream Tls => tls;

    /// <summary>
    /// Takes the connection from the server, which has answered 101; null when it has read beyond the request, so that not all of
    /// what the device sends would come from the stream.
    /// </summary>
    public SslStream? TryTake()
    {
        var input = connection.Transport.Input;
        if (input.TryRead(out var result))
        {
            var isEmpty = result.Buffer.IsEmpty;
            input.AdvanceTo(result.Buffer.Start);
            if (!isEmpty || result.IsCompleted)
            {
                return null;
            }
        }

        _isTaken = true;
        return tls;
    }

    /// <summary>Keeps a connection that was taken until the tunnel has ended, however long before that the request does.</summary>
    public bool TryKeep(Task life)
    {
        _life = _isTaken ? life : null;
        return _isTaken;
    }

    /// <summary>Lets the server speak HTTP first.</summary>
    public async Task ServeAsync(ConnectionDelegate server)
    {
        // The server is told the time by a list that nobody leaves, and would be kept by it.
        if (connection.Features.Get<IConnectionHeartbeatFeature>() is { } clock)
        {
            clock.OnHeartbeat(static state => ((TunnelConnection)state).Beat(), this);
            connection.Features.Set<IConnectionHeartbeatFeature>(this);
        }

        try
        {
            await server(connection);
        }
        finally
        {
            lock (_heartbeats)
            {
                _heartbeats.Clear();
                _heartbeats.TrimExcess();
            }

            if (_life is not null)
            {
                await _life;
            }
        }
    }

    void IConnectionHeartbeatFeature.OnHeartbeat(Action<object> action, object state)
    {
        lock (_heartbeats)
        {
            _heartbeats.Add((action, state));
        }
    }

    private void Beat()
    {
        lock (_heartbeats)
        {
            foreach (var (action, state) in _heartbeats)
            {
                action(state);
            }
        }
    }
}

internal static class TunnelConnectionExtensions
{
    /// <summary>Comes after the TLS middleware.</summary>
    public static IConnectionBuilder UseTunnelConnections(this IConnectionBuilder connections) => connections.Use(next => connection =>
    {
        if (connection.Features.Get<ISslStreamFeature>() is not { } tls)
        {
            return next(connection);
        }

        var tunnel = new TunnelConnection(connection, tls.SslStream);
        connection.Features.Set(tunnel);
        return tunnel.ServeAsync(next);
    });
}
