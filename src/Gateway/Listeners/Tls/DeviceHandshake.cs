using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using Gateway.Certificates;
using Gateway.Listeners.Sockets;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Tls;

/// <summary>
/// TLS with devices, on the socket itself: the server's own would put two pipes and a stream between, and be kept, with its connection,
/// for as long as a tunnel lives.
/// </summary>
internal sealed partial class DeviceHandshake(HandshakeSelector selector, IOptions<TlsOptions> options, GatewayMetrics metrics, TimeProvider time, ILogger<DeviceHandshake> logger)
{
    private readonly ServerOptionsSelectionCallback _select = (_, hello, client, cancellationToken) => selector.SelectAsync(hello, (IPAddress?)client, cancellationToken);

    /// <summary>Answers a handshake.</summary>
    /// <param name="socket">The device's, which the stream owns from now on.</param>
    /// <param name="client">Where the device dials from.</param>
    /// <param name="stop">Ends the handshake.</param>
    /// <returns>Null when it has failed, and the socket is closed.</returns>
    public async Task<SslStream?> RunAsync(Socket socket, IPAddress? client, CancellationToken stop)
    {
        var started = time.GetTimestamp();
        var stream = new SslStream(new DeviceSocketStream(socket));
        using var late = new CancellationTokenSource(options.Value.HandshakeTimeout, time);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(stop, late.Token);

        await using var end = socket.CloseAt(timeout.Token);
        try
        {
            await stream.AuthenticateAsServerAsync(_select, client, CancellationToken.None);
            metrics.TlsHandshake(time.GetElapsedTime(started), stream.SslProtocol);
            return stream;
        }
        catch (Exception exception) when (exception is AuthenticationException or IOException or OperationCanceledException or ObjectDisposedException)
        {
            metrics.TlsHandshakeFailed(time.GetElapsedTime(started), timeout.IsCancellationRequested ? new TimeoutException() : exception);
            LogFailed(logger, exception, client);
        }

        await stream.DisposeAsync();
        return null;
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The TLS handshake of a device at {Address} failed")]
    private static partial void LogFailed(ILogger logger, Exception exception, IPAddress? address);
}
