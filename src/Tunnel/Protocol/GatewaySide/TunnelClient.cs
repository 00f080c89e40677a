using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Tunnel.Protocol.GatewaySide;

/// <summary>
/// One tunnel from the gateway's side: sends requests to the device over the connection that the device dialled.
/// </summary>
/// <remarks>
/// The HTTP/2 client is made at the first request. A connection that has ended is never dialled again, for only the
/// device can dial: <see cref="Closed"/> completes and every further request fails with <see cref="TunnelClosedException"/>.
/// </remarks>
public sealed class TunnelClient : IAsyncDisposable
{
    /// <summary>
    /// The URI prefix of every request through a tunnel. It names no device, so that no metric of the HTTP client
    /// gets a time series a device; the <c>Host</c> field sets <c>:authority</c>.
    /// </summary>
    public const string DestinationPrefix = "http://device.invalid";

    private readonly TunnelStream _stream;
    private readonly TunnelClientOptions _options;
    private HttpMessageInvoker? _invoker;
    private int _connected;
    private volatile bool _letGo;
    private volatile bool _isDisposed;

    /// <summary>Takes over the stream that remains after the handshake.</summary>
    /// <param name="stream">The connection to the device.</param>
    /// <param name="options">How HTTP/2 is spoken on it.</param>
    /// <param name="traffic">Counts the bytes, if given.</param>
    /// <param name="afterBulk">Told with <paramref name="stream"/>, while nobody reads from it, that much has come and no more does: what was needed for it can be given back.</param>
    /// <param name="socket">Under <paramref name="stream"/>, which reads of nothing else; if given, an idle tunnel waits for it, which costs less than a read of a <see cref="System.Net.Security.SslStream"/> that is under way.</param>
    public TunnelClient(Stream stream, TunnelClientOptions options, TunnelTraffic? traffic = null, Action<Stream>? afterBulk = null, Socket? socket = null)
    {
        _stream = new TunnelStream(stream, traffic, afterBulk, socket);
        _options = options;
    }

    /// <summary>Completes, without error, when the tunnel has ended: no request can go through it any more.</summary>
    public Task Closed => _stream.Closed;

    /// <summary>
    /// Whether a request can be sent. False when the tunnel has ended, and when the device has said that it takes no more
    /// (GOAWAY, RFC 9113 section 6.8): then the requests in flight finish first.
    /// </summary>
    public bool IsOpen => !_letGo && !_stream.Closed.IsCompleted;

    /// <summary>Whether the tunnel was ended because the device floods it with frames (RFC 9113 section 10.5).</summary>
    public bool IsFlooded => _stream.IsFlooded;

    /// <summary>Whether the tunnel has ended, and neither side has ended it in peace: the device has broken a rule, or is gone.</summary>
    public bool IsBroken => _stream.Closed.IsCompleted && !_stream.HasEnded && !_isDisposed;

    /// <summary>Sends requests to the device; use HTTP/2 exactly and URIs that begin with <see cref="DestinationPrefix"/>.</summary>
    public HttpMessageInvoker Invoker => Volatile.Read(ref _invoker) ?? LazyInitializer.EnsureInitialized(ref _invoker, CreateInvoker);

    /// <summary>The bytes of HTTP/2 that have crossed since the last call, to the device and from it.</summary>
    public (long Sent, long Received) TakeTraffic() => _stream.TakeTraffic();

    /// <summary>As <see cref="DisposeAsync"/>, for who does not wait for it.</summary>
    public void End() => _ = DisposeAsync().AsTask();

    /// <summary>Ends the connection and with it every request in flight.</summary>
    public async ValueTask DisposeAsync()
    {
        _isDisposed = true;
        await _stream.DisposeAsync();
        _invoker?.Dispose();
    }

    /// <summary>Asks the device to dial another node and then to let this tunnel go.</summary>
    /// <returns>False when the device's agent does not know how to, or did not answer.</returns>
    public async Task<bool> TryDrainAsync(CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, DestinationPrefix + TunnelProtocol.DrainPath)
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Headers = { Host = TunnelProtocol.ControlAuthority },
        };
        try
        {
            using var response = await Invoker.SendAsync(request, cancellationToken);
            return response.IsSuccessStatusCode;
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return false;
        }
    }

    private HttpMessageInvoker CreateInvoker()
    {
        _stream.HandOver();
        var handler = new SocketsHttpHandler
        {
            // The platform pools connections; this pool holds the one that exists and may never make another.
            ConnectCallback = TakeConnection,
            EnableMultipleHttp2Connections = false,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            PooledConnectionLifetime = Timeout.InfiniteTimeSpan,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            KeepAlivePingDelay = _options.PingDelay,
            KeepAlivePingTimeout = _options.PingTimeout,
            InitialHttp2StreamWindowSize = _options.StreamWindow,
            MaxResponseHeadersLength = _options.MaxResponseHeadersKib,
            // Field values are bytes: Latin-1 maps each to itself (RFC 9110 section 5.5).
            RequestHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1,
            // A forwarder changes nothing and remembers nothing.
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            UseCookies = false,
            UseProxy = false,
            // The visitor's trace context is a field like others here; who traces sets it before.
            ActivityHeadersPropagator = null,
        };
        return new HttpMessageInvoker(handler, disposeHandler: true);
    }

    private ValueTask<Stream> TakeConnection(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _connected, 1) == 1 || !IsOpen)
        {
            // The client let go of the connection: a GOAWAY, an error, or its end. It will not be used again, and ends when
            // the last request in flight has.
            _letGo = true;
            return ValueTask.FromException<Stream>(new TunnelClosedException());
        }

        return ValueTask.FromResult<Stream>(_stream);
    }
}

/// <summary>The tunnel has ended, and no byte of the request has been sent.</summary>
public sealed class TunnelClosedException() : IOException("The device's tunnel has ended.");
