using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>Kestrel's name for "dial the gateway": the end point that <see cref="DeviceTunnelTransport"/> takes.</summary>
internal sealed class DeviceTunnelEndPoint(Uri gateway) : EndPoint
{
    // Kestrel puts "http://" before it and shows that among the application's addresses.
    public override string ToString() => gateway.Authority;
}

/// <summary>Marks a connection that came through the tunnel, whose peer is the gateway.</summary>
internal sealed class DeviceTunnelFeature;

/// <summary>A transport of Kestrel that accepts by dialling out.</summary>
internal sealed class DeviceTunnelTransport(
    IOptions<DeviceTunnelOptions> options, ILoggerFactory loggers, TimeProvider time) : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    public bool CanBind(EndPoint endpoint) => endpoint is DeviceTunnelEndPoint;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<IConnectionListener>(new DeviceTunnelListener(endpoint, options.Value, loggers.CreateLogger("Tunnel"), time));
}

/// <summary>Keeps one tunnel up: dials, waits for its end, and dials again, for ever.</summary>
internal sealed partial class DeviceTunnelListener(
    EndPoint endpoint, DeviceTunnelOptions options, ILogger logger, TimeProvider time) : IConnectionListener
{
    /// <summary>A tunnel that lived this long was a success; one that ended sooner counts as a failed attempt.</summary>
    private static readonly TimeSpan Stable = TimeSpan.FromSeconds(10);

    private readonly TunnelDialer _dialer = new(options);
    private readonly Backoff _backoff = new(options.ReconnectDelay, options.MaxReconnectDelay, Random.Shared);
    private readonly CancellationTokenSource _unbound = new();
    private DeviceTunnelConnection? _current;
    private long _connectedAt;

    public EndPoint EndPoint => endpoint;

    /// <summary>Waits until the last tunnel has ended, then until a new one is up; null once unbound.</summary>
    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _unbound.Token);
        try
        {
            if (_current is { } current)
            {
                await current.Ended.WaitAsync(linked.Token);
                _current = null;
                var lived = time.GetElapsedTime(_connectedAt);
                if (lived >= Stable)
                {
                    _backoff.Reset();
                }

                var pause = _backoff.Next();
                LogLost(logger, lived.TotalSeconds, pause.TotalSeconds);
                await Task.Delay(pause, time, linked.Token);
            }

            return _current = await DialUntilConnectedAsync(linked.Token);
        }
        catch (OperationCanceledException) when (linked.IsCancellationRequested)
        {
            return null;
        }
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _unbound.Cancel();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        _unbound.Cancel();
        _dialer.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task<DeviceTunnelConnection> DialUntilConnectedAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            TimeSpan pause;
            try
            {
                LogDialling(logger, options.Gateway!);
                var stream = await _dialer.DialAsync(cancellationToken);
                _connectedAt = time.GetTimestamp();
                LogConnected(logger, options.Uuid);
                return new DeviceTunnelConnection(stream, EndPoint);
            }
            catch (TunnelRefusedException refused)
            {
                pause = _backoff.Next(refused.RetryAfter);
                LogFailed(logger, refused.Message, pause.TotalSeconds);
            }
            catch (Exception exception) when (exception is HttpRequestException or SocketException or IOException or TimeoutException or AuthenticationException)
            {
                pause = _backoff.Next();
                LogFailed(logger, Reason(exception), pause.TotalSeconds);
            }

            await Task.Delay(pause, time, cancellationToken);
        }
    }

    // The innermost message is the one that a person can act upon ("Connection refused", "... certificate is invalid ...").
    private static string Reason(Exception exception) =>
        exception.InnerException is AuthenticationException tls ? $"the gateway's certificate is not trusted: {tls.Message}" : exception.GetBaseException().Message;

    [LoggerMessage(Level = LogLevel.Information, Message = "Dialling {Gateway}")]
    private static partial void LogDialling(ILogger logger, Uri gateway);

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel up: device {Uuid} can be reached")]
    private static partial void LogConnected(ILogger logger, DeviceUuid uuid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Tunnel lost after {Lived:0.0} s; dialling again in {Pause:0.0} s")]
    private static partial void LogLost(ILogger logger, double lived, double pause);

    [LoggerMessage(Level = LogLevel.Warning, Message = "No tunnel: {Reason}; trying again in {Pause:0.0} s")]
    private static partial void LogFailed(ILogger logger, string reason, double pause);
}

/// <summary>A dialled connection, as Kestrel wants it.</summary>
internal sealed class DeviceTunnelConnection : ConnectionContext, IDuplexPipe
{
    private readonly DeviceTunnelStream _stream;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closed = new();

    public DeviceTunnelConnection(Stream stream, EndPoint endpoint)
    {
        _stream = new DeviceTunnelStream(stream);
        LocalEndPoint = endpoint;
        ConnectionClosed = _closed.Token;
        Input = PipeReader.Create(_stream, new StreamPipeReaderOptions(bufferSize: 16 * 1024, minimumReadSize: 1024, leaveOpen: true, useZeroByteReads: true));
        Output = PipeWriter.Create(_stream, new StreamPipeWriterOptions(minimumBufferSize: 16 * 1024, leaveOpen: true));
        Transport = this;
        Features.Set(new DeviceTunnelFeature());
    }

    public PipeReader Input { get; }
    public PipeWriter Output { get; }

    /// <summary>Completes when Kestrel has let go of the connection.</summary>
    public Task Ended => _ended.Task;

    public override string ConnectionId { get; set; } = Guid.NewGuid().ToString("N");
    public override Microsoft.AspNetCore.Http.Features.IFeatureCollection Features { get; } = new Microsoft.AspNetCore.Http.Features.FeatureCollection();
    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();
    public override IDuplexPipe Transport { get; set; }

    public override void Abort(ConnectionAbortedException abortReason) => _stream.Dispose();

    public override async ValueTask DisposeAsync()
    {
        await _stream.DisposeAsync();
        await _closed.CancelAsync();
        _closed.Dispose();
        _ended.TrySetResult();
        await base.DisposeAsync();
    }
}
