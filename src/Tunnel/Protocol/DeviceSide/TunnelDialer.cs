using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>
/// Dials the gateway and does the handshake. The platform's HTTP client does what it does for any request: names,
/// IPv4 and IPv6, TLS, and the proxies that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name (HTTP and SOCKS).
/// </summary>
internal sealed class TunnelDialer : IDisposable
{
    private readonly DeviceTunnelOptions _options;
    private readonly Uri _uri;
    private HttpMessageInvoker? _invoker;
    private X509Certificate2? _shown;

    public TunnelDialer(DeviceTunnelOptions options)
    {
        _options = options;

        // The WebSocket schemes make the client use CONNECT at an HTTP proxy even without TLS (RFC 6455 section 4.1).
        var gateway = options.Gateway!;
        _uri = new UriBuilder(gateway) { Scheme = gateway.Scheme == "https" ? "wss" : "ws", Port = gateway.Port, Path = TunnelProtocol.PathOf(options.Uuid) }.Uri;
    }

    /// <summary>Dials once; not to be called concurrently.</summary>
    /// <param name="avoid">The nodes to which there is a tunnel already.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <returns>The stream on which the device is now the HTTP/2 server, and the node at its other end; null when the gateway does not say.</returns>
    /// <exception cref="TunnelRefusedException">The gateway, or a proxy before it, answered with something else than 101.</exception>
    /// <exception cref="HttpRequestException">The gateway was not reached, or its certificate is not trusted.</exception>
    /// <exception cref="TimeoutException">The attempt took longer than <see cref="DeviceTunnelOptions.ConnectTimeout"/>.</exception>
    public async Task<(Stream Stream, string? Node)> DialAsync(IReadOnlyCollection<string> avoid, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(_options.ConnectTimeout);
        HttpResponseMessage response;
        try
        {
            response = await Invoker().SendAsync(CreateHandshake(avoid), timeout.Token);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"no answer within {_options.ConnectTimeout.TotalSeconds:0} s", exception);
        }

        if (response.StatusCode != HttpStatusCode.SwitchingProtocols)
        {
            using (response)
            {
                throw new TunnelRefusedException(response.StatusCode, RetryAfter(response));
            }
        }

        var node = response.Headers.TryGetValues(TunnelProtocol.NodeHeader, out var values) ? values.FirstOrDefault() : null;
        return (await response.Content.ReadAsStreamAsync(cancellationToken), node);
    }

    public void Dispose() => _invoker?.Dispose();

    // A client shows one certificate for its whole life. The tunnels of the one before stay: they have left its pool.
    private HttpMessageInvoker Invoker()
    {
        var certificate = _options.ClientCertificate?.Invoke();
        if (_invoker is null || !Equals(certificate, _shown))
        {
            _invoker?.Dispose();
            (_invoker, _shown) = (CreateInvoker(certificate), certificate);
        }

        return _invoker;
    }

    private HttpMessageInvoker CreateInvoker(X509Certificate2? certificate)
    {
        var handler = new SocketsHttpHandler { ConnectCallback = ConnectAsync, UseCookies = false, AllowAutoRedirect = false, ActivityHeadersPropagator = null };
        if (_options.TrustedRoots is { Count: > 0 } roots)
        {
            handler.SslOptions.CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
            };
            handler.SslOptions.CertificateChainPolicy.CustomTrustStore.AddRange(roots);
        }

        if (certificate is not null)
        {
            handler.SslOptions.ClientCertificateContext = SslStreamCertificateContext.Create(certificate, additionalCertificates: null, offline: true);
        }

        return new HttpMessageInvoker(handler);
    }

    private HttpRequestMessage CreateHandshake(IReadOnlyCollection<string> avoid)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, _uri)
        {
            Version = HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.Connection.Add("upgrade");
        request.Headers.Upgrade.Add(new ProductHeaderValue(TunnelProtocol.UpgradeToken));
        request.Headers.Add(TunnelProtocol.AlpnHeader, TunnelProtocol.AlpnHttp2);
        request.Headers.Authorization = _options.Key.Length > 0 ? new AuthenticationHeaderValue("Bearer", _options.Key) : null;
        request.Headers.TryAddWithoutValidation("User-Agent", _options.UserAgent);
        if (avoid.Count > 0)
        {
            request.Headers.TryAddWithoutValidation(TunnelProtocol.AvoidHeader, string.Join(", ", avoid));
        }

        return request;
    }

    private static TimeSpan? RetryAfter(HttpResponseMessage response) =>
        response.Headers.RetryAfter switch
        {
            { Delta: { } delta } => delta,
            { Date: { } date } when response.Headers.Date is { } now && date > now => date - now,
            _ => null,
        };

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var socket = await HappyEyeballs.ConnectAsync(context.DnsEndPoint, cancellationToken);
        socket.NoDelay = true;
        TunnelTcp.Apply(socket, _options.DeadAfter);
        return new NetworkStream(socket, ownsSocket: true);
    }
}

/// <summary>The gateway answered the handshake with something else than 101.</summary>
internal sealed class TunnelRefusedException(HttpStatusCode status, TimeSpan? retryAfter) : Exception(Explain(status))
{
    /// <summary>What the gateway asks to wait, if it does.</summary>
    public TimeSpan? RetryAfter { get; } = retryAfter;

    /// <summary>
    /// Another node would take the device: this one has a tunnel of it already (409), or is about to stop (503 with
    /// <c>Retry-After: 0</c>). The next attempt may reach another.
    /// </summary>
    public bool IsElsewhere { get; } = status == HttpStatusCode.Conflict || (status == HttpStatusCode.ServiceUnavailable && retryAfter == TimeSpan.Zero);

    private static string Explain(HttpStatusCode status) => status switch
    {
        HttpStatusCode.Unauthorized => "the gateway does not accept this uuid with this key (401)",
        HttpStatusCode.NotFound => "there is no tunnel endpoint at this address (404); the address is tunnel.<base domain> of the gateway",
        HttpStatusCode.ProxyAuthenticationRequired => "the proxy asks for a user name and password (407)",
        HttpStatusCode.Conflict => "this node of the gateway has a tunnel already (409)",
        HttpStatusCode.TooManyRequests or HttpStatusCode.ServiceUnavailable => $"the gateway is busy or stopping ({(int)status})",
        _ => $"the gateway answered {(int)status} instead of 101",
    };
}
