using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>Kestrel's name for "dial the gateway": the end point that <see cref="DeviceTunnelTransport"/> takes.</summary>
internal sealed class DeviceTunnelEndPoint(Uri gateway) : EndPoint
{
    /// <summary>Unspecified: Kestrel's metrics ask, and the base class throws.</summary>
    public override AddressFamily AddressFamily => AddressFamily.Unspecified;

    // Kestrel puts "http://" before it and shows that among the application's addresses.
    public override string ToString() => gateway.Authority;
}

/// <summary>Marks a connection that came through the tunnel, whose peer is the gateway.</summary>
internal sealed class DeviceTunnelFeature(DeviceTunnelConnection connection)
{
    /// <summary>The gateway wants to be rid of this tunnel: another one is dialled, and then this one is let go.</summary>
    public void Drain() => connection.Drain();
}

/// <summary>A transport of Kestrel that accepts by dialling out.</summary>
internal sealed class DeviceTunnelTransport(
    IOptions<DeviceTunnelOptions> options, ILoggerFactory loggers, TimeProvider time) : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    public bool CanBind(EndPoint endpoint) => endpoint is DeviceTunnelEndPoint;

    public ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ValueTask.FromResult<IConnectionListener>(new DeviceTunnelListener(endpoint, options.Value, loggers.CreateLogger("Tunnel"), time));
}

/// <summary>
/// Keeps the device's tunnels up, each for itself: dials, waits for the tunnel's end, and dials again, for ever. Only one
/// dials at a time, so that it knows which nodes the others have reached.
/// </summary>
internal sealed partial class DeviceTunnelListener : IConnectionListener
{
    /// <summary>A tunnel that lived this long was a success; one that ended sooner counts as a failed attempt.</summary>
    private static readonly TimeSpan Stable = TimeSpan.FromSeconds(10);

    /// <summary>How often a node that would rather not is followed by another attempt at once, for a balancer may lead elsewhere.</summary>
    private const int QuickAttempts = 5;

    private static readonly TimeSpan QuickPause = TimeSpan.FromMilliseconds(200);

    /// <summary>How long the old tunnel stays once its replacement is up: until then every node has heard of that one.</summary>
    private static readonly TimeSpan Overlap = TimeSpan.FromSeconds(2);

    private readonly DeviceTunnelOptions _options;
    private readonly ILogger _logger;
    private readonly TimeProvider _time;
    private readonly TunnelDialer _dialer;
    private readonly CancellationTokenSource _unbound = new();
    private readonly Channel<DeviceTunnelConnection> _dialled = Channel.CreateUnbounded<DeviceTunnelConnection>();
    private readonly ConcurrentDictionary<DeviceTunnelConnection, string> _nodes = new();
    private readonly SemaphoreSlim _dialling = new(1, 1);

    public DeviceTunnelListener(EndPoint endpoint, DeviceTunnelOptions options, ILogger logger, TimeProvider time)
    {
        (EndPoint, _options, _logger, _time) = (endpoint, options, logger, time);
        _dialer = new TunnelDialer(options);
        for (var i = 0; i < options.Connections; i++)
        {
            _ = KeepAsync(_unbound.Token);
        }
    }

    public EndPoint EndPoint { get; }

    /// <summary>Waits until a tunnel is up; null once unbound.</summary>
    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _unbound.Token);
        try
        {
            return await _dialled.Reader.ReadAsync(linked.Token);
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

    private async Task KeepAsync(CancellationToken cancellationToken)
    {
        var backoff = new Backoff(_options.ReconnectDelay, _options.MaxReconnectDelay, Random.Shared);
        try
        {
            var current = await DialUntilConnectedAsync(backoff, cancellationToken);
            while (true)
            {
                await Task.WhenAny(current.Ended, current.Draining).WaitAsync(cancellationToken);
                if (!current.Ended.IsCompleted)
                {
                    // The replacement first, and only then is the old one let go: visitors always find one of the two.
                    LogReplacing(_logger);
                    var replacement = await DialUntilConnectedAsync(backoff, cancellationToken);
                    _ = LetGoAsync(current, cancellationToken);
                    current = replacement;
                    continue;
                }

                var lived = _time.GetElapsedTime(current.ConnectedAt);
                if (lived >= Stable)
                {
                    backoff.Reset();
                }

                var pause = backoff.Next();
                LogLost(_logger, lived.TotalSeconds, pause.TotalSeconds);
                await Task.Delay(pause, _time, cancellationToken);
                current = await DialUntilConnectedAsync(backoff, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The application stops.
        }
    }

    // A request that is under way just as the tunnel says that it takes no more would be lost: so none may come by then.
    private async Task LetGoAsync(DeviceTunnelConnection old, CancellationToken cancellationToken)
    {
        await old.Ended.WaitAsync(Overlap, _time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        old.LetGo();
    }

    private async Task<DeviceTunnelConnection> DialUntilConnectedAsync(Backoff backoff, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            TimeSpan pause;
            await _dialling.WaitAsync(cancellationToken);
            try
            {
                LogDialling(_logger, _options.Gateway!);
                var (stream, node) = await _dialer.DialAsync([.. _nodes.Values.Distinct(StringComparer.Ordinal)], cancellationToken);
                LogConnected(_logger, _options.Uuid, node is null ? "" : $", at node {node}");
                return Take(stream, node);
            }
            catch (TunnelRefusedException refused)
            {
                pause = refused.IsElsewhere && attempt <= QuickAttempts
                    ? QuickPause * attempt * Random.Shared.NextDouble()
                    : backoff.Next(refused.RetryAfter);
                LogFailed(_logger, refused.Message, pause.TotalSeconds);
            }
            catch (Exception exception) when (exception is HttpRequestException or SocketException or IOException or TimeoutException or AuthenticationException)
            {
                pause = backoff.Next();
                LogFailed(_logger, Reason(exception), pause.TotalSeconds);
            }
            finally
            {
                _dialling.Release();
            }

            await Task.Delay(pause, _time, cancellationToken);
        }
    }

    private DeviceTunnelConnection Take(Stream stream, string? node)
    {
        var connection = new DeviceTunnelConnection(stream, EndPoint, _time);
        if (node is not null)
        {
            _nodes[connection] = node;
            _ = ForgetAtEndAsync(connection);
        }

        _dialled.Writer.TryWrite(connection);
        return connection;
    }

    private async Task ForgetAtEndAsync(DeviceTunnelConnection connection)
    {
        await connection.Ended;
        _nodes.TryRemove(connection, out _);
    }

    // The innermost message is the one that a person can act upon ("Connection refused", "... certificate is invalid ...").
    private static string Reason(Exception exception) =>
        exception.InnerException is AuthenticationException tls ? $"the gateway's certificate is not trusted: {tls.Message}" : exception.GetBaseException().Message;

    [LoggerMessage(Level = LogLevel.Information, Message = "Dialling {Gateway}")]
    private static partial void LogDialling(ILogger logger, Uri gateway);

    [LoggerMessage(Level = LogLevel.Information, Message = "Tunnel up: device {Uuid} can be reached{Node}")]
    private static partial void LogConnected(ILogger logger, DeviceUuid uuid, string node);

    [LoggerMessage(Level = LogLevel.Information, Message = "The gateway's node is about to stop: dialling another one")]
    private static partial void LogReplacing(ILogger logger);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Tunnel lost after {Lived:0.0} s; dialling again in {Pause:0.0} s")]
    private static partial void LogLost(ILogger logger, double lived, double pause);

    [LoggerMessage(Level = LogLevel.Warning, Message = "No tunnel: {Reason}; trying again in {Pause:0.0} s")]
    private static partial void LogFailed(ILogger logger, string reason, double pause);
}

/// <summary>A dialled connection, as Kestrel wants it.</summary>
internal sealed class DeviceTunnelConnection : ConnectionContext, IDuplexPipe
{
    /// <summary>Bytes of answers that may wait for the network; then their writers wait.</summary>
    private const int MaxUnsent = 64 * 1024;

    /// <summary>How long what was written last (GOAWAY, the end of an answer) may take to leave once Kestrel has let go.</summary>
    private static readonly TimeSpan LastWords = TimeSpan.FromSeconds(2);

    private readonly TimeProvider _time;
    private readonly DeviceTunnelStream _stream;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _draining = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closed = new();
    private readonly Task _sending;

    public DeviceTunnelConnection(Stream stream, EndPoint endpoint, TimeProvider time)
    {
        _time = time;
        ConnectedAt = time.GetTimestamp();
        _stream = new DeviceTunnelStream(stream);
        LocalEndPoint = endpoint;
        ConnectionClosed = _closed.Token;
        Input = PipeReader.Create(_stream, new StreamPipeReaderOptions(bufferSize: 16 * 1024, minimumReadSize: 1024, leaveOpen: true, useZeroByteReads: true));
        var output = new Pipe(new PipeOptions(minimumSegmentSize: 16 * 1024, pauseWriterThreshold: MaxUnsent, resumeWriterThreshold: MaxUnsent / 2, useSynchronizationContext: false));
        Output = output.Writer;
        _sending = SendAsync(output.Reader, _stream);
        Transport = this;
        Features.Set(new DeviceTunnelFeature(this));
    }

    public PipeReader Input { get; }
    public PipeWriter Output { get; }

    /// <summary>When the tunnel came up, a timestamp of the time provider.</summary>
    public long ConnectedAt { get; }

    /// <summary>Completes when Kestrel has let go of the connection.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Completes when the gateway has asked for another tunnel in this one's place.</summary>
    public Task Draining => _draining.Task;

    public void Drain() => _draining.TrySetResult();

    /// <summary>Takes no new request (GOAWAY, RFC 9113 section 6.8); those in flight finish, then the connection ends.</summary>
    public void LetGo() => Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();

    public override string ConnectionId { get; set; } = Guid.NewGuid().ToString("N");
    public override Microsoft.AspNetCore.Http.Features.IFeatureCollection Features { get; } = new Microsoft.AspNetCore.Http.Features.FeatureCollection();
    public override IDictionary<object, object?> Items { get; set; } = new Dictionary<object, object?>();
    public override IDuplexPipe Transport { get; set; }

    public override void Abort(ConnectionAbortedException abortReason) => _stream.Dispose();

    public override async ValueTask DisposeAsync()
    {
        await Output.CompleteAsync();
        await _sending.WaitAsync(LastWords, _time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _stream.DisposeAsync();
        await _closed.CancelAsync();
        _closed.Dispose();
        _ended.TrySetResult();
        await base.DisposeAsync();
    }

    // Kestrel flushes each answer by itself. What several have written while a record was on its way leaves as one record:
    // one encryption and one system call here, one wake-up there.
    private static async Task SendAsync(PipeReader output, DeviceTunnelStream stream)
    {
        try
        {
            ReadResult read;
            do
            {
                read = await output.ReadAsync();
                foreach (var part in read.Buffer)
                {
                    await stream.WriteAsync(part);
                }

                output.AdvanceTo(read.Buffer.End);
            }
            while (!read.IsCompleted);
        }
        finally
        {
            // Whoever waits for room is let go.
            await output.CompleteAsync();
        }
    }
}
