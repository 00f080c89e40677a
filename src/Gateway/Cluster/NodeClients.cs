using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;

namespace Gateway.Cluster;

/// <summary>
/// The connections to other nodes' inner listeners: HTTP/2 over TLS, each end known by the hash of its certificate
/// (<see cref="NodeIdentity"/>).
/// </summary>
internal sealed class NodeClients(NodeIdentity self, Nodes nodes, IOptions<ClusterOptions> options, IOptions<TunnelOptions> tunnels) : IDisposable
{
    /// <summary>The URI prefix of every request to a node. It names none, so that no metric gets a time series a node.</summary>
    public const string DestinationPrefix = "https://node.invalid";

    private readonly ConcurrentDictionary<(string Id, string Epoch), Lazy<HttpMessageInvoker>> _clients = new();

    /// <summary>The client for a node.</summary>
    public HttpMessageInvoker For(NodeRecord node)
    {
        if (_clients.TryGetValue((node.Id, node.Epoch), out var existing))
        {
            return existing.Value;
        }

        foreach (var (key, client) in _clients)
        {
            if (!nodes.Live.Any(live => live.Id == key.Id && live.Epoch == key.Epoch) && _clients.TryRemove(key, out _))
            {
                client.Value.Dispose();
            }
        }

        return _clients.GetOrAdd((node.Id, node.Epoch), static (_, made) => made, new Lazy<HttpMessageInvoker>(() => Create(node))).Value;
    }

    public void Dispose()
    {
        foreach (var client in _clients.Values)
        {
            client.Value.Dispose();
        }
    }

    private HttpMessageInvoker Create(NodeRecord node)
    {
        var http2 = tunnels.Value.Http2;
        return new HttpMessageInvoker(new SocketsHttpHandler
        {
            ConnectTimeout = options.Value.ConnectTimeout,
            ConnectCallback = (_, cancellationToken) => ConnectAsync(node, cancellationToken),
            SslOptions = new SslClientAuthenticationOptions
            {
                ClientCertificateContext = SslStreamCertificateContext.Create(self.Certificate!, null, offline: true),
                RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null && NodeIdentity.HashOf(certificate) == node.Certificate,
            },
            EnableMultipleHttp2Connections = true,
            PooledConnectionIdleTimeout = TimeSpan.FromMinutes(5),
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            KeepAlivePingDelay = http2.PingDelay,
            KeepAlivePingTimeout = http2.PingTimeout,
            InitialHttp2StreamWindowSize = http2.StreamWindow,
            MaxResponseHeadersLength = http2.MaxResponseHeadersKib + 1,
            RequestHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            ActivityHeadersPropagator = null,
        });
    }

    private static async ValueTask<Stream> ConnectAsync(NodeRecord node, CancellationToken cancellationToken)
    {
        var address = NodeAddress.TryParse(node.Address, out var parsed) ? parsed : throw new HttpRequestException(HttpRequestError.ConnectionError, $"Node {node.Id} has no address.");
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(address.EndPoint, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
