using System.Net.Sockets;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Storage;

/// <summary>The one connection to Redis. It is made in the background and heals by itself; nobody waits for it but who needs it.</summary>
internal sealed partial class RedisConnection(
    IOptions<StorageOptions> options, IHostApplicationLifetime lifetime, TimeProvider time, ILoggerFactory loggers, ILogger<RedisConnection> logger) : IHostedService, IAsyncDisposable
{
    /// <summary>The pause before Redis is asked again for what has to be had.</summary>
    private static readonly TimeSpan Respite = TimeSpan.FromMilliseconds(500);

    private readonly TaskCompletionSource<ConnectionMultiplexer> _first = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _stopping = new();
    private EmbeddedRedis? _embedded;
    private ConnectionMultiplexer? _multiplexer;
    private long _lostAt;
    private int _disposed;
    private Task _connecting = Task.CompletedTask;

    /// <summary>True while Redis answers.</summary>
    public bool IsConnected => _multiplexer is { IsConnected: true };

    /// <summary>Whether Redis has answered within the last <paramref name="span"/>; never before it was reached for the first time.</summary>
    public bool WasConnectedWithin(TimeSpan span)
    {
        var lostAt = Interlocked.Read(ref _lostAt);
        return IsConnected || (FirstConnected.IsCompletedSuccessfully && (lostAt == 0 || time.GetElapsedTime(lostAt) <= span));
    }

    /// <summary>Completes with the connection once it has been up for the first time.</summary>
    public Task<ConnectionMultiplexer> FirstConnected => _first.Task;

    /// <summary>
    /// Waits for the store as long as somebody at a terminal would: 5 s for a Redis, which is there or is not; 30 s for the
    /// embedded one, which only now starts, and takes its time on a small or busy machine.
    /// </summary>
    /// <exception cref="TimeoutException">It did not answer.</exception>
    public Task WaitAtTerminalAsync() => FirstConnected.WaitAsync(TimeSpan.FromSeconds(options.Value.Redis.Length > 0 ? 5 : 30), time);

    /// <summary>The database.</summary>
    /// <exception cref="StoreUnavailableException">Redis has not been reached yet.</exception>
    public IDatabase Database => _multiplexer?.GetDatabase() ?? throw new StoreUnavailableException("Redis has not been reached yet.");

    /// <summary>All keys of a pattern, of every primary where there are several. A key may come twice.</summary>
    public async IAsyncEnumerable<string> ScanAsync(RedisValue pattern)
    {
        var database = Database;
        foreach (var server in database.Multiplexer.GetServers().Where(static server => server is { IsConnected: true, IsReplica: false }))
        {
            await foreach (var key in server.KeysAsync(database.Database, pattern, pageSize: 1000))
            {
                yield return key!;
            }
        }
    }

    /// <summary>Listens to a channel from now on, as soon as Redis can be asked; it goes on by itself after Redis has been away.</summary>
    /// <param name="channel">The channel.</param>
    /// <param name="handler">Is called for each message, not concurrently.</param>
    /// <param name="cancellationToken">Ends the waiting, not the listening.</param>
    /// <exception cref="StoreUnavailableException">There will be no store.</exception>
    public async Task SubscribeAsync(RedisChannel channel, Action<RedisValue> handler, CancellationToken cancellationToken)
    {
        var subscriber = (await FirstConnected.WaitAsync(cancellationToken)).GetSubscriber();
        while (true)
        {
            try
            {
                (await subscriber.SubscribeAsync(channel)).OnMessage(message => handler(message.Message));
                return;
            }
            catch (Exception exception) when (IsUnavailable(exception))
            {
                await Task.Delay(Respite, cancellationToken);
            }
        }
    }

    public Task StartAsync(CancellationToken cancellationToken)
    {
        _connecting = ConnectAsync(_stopping.Token);
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        // The container disposes of it once as itself and once as a hosted service.
        if (Interlocked.Exchange(ref _disposed, 1) == 1)
        {
            return;
        }

        await _stopping.CancelAsync();
        await _connecting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_multiplexer is not null)
        {
            await _multiplexer.DisposeAsync();
        }

        if (_embedded is not null)
        {
            await _embedded.DisposeAsync();
        }

        _stopping.Dispose();
    }

    private async Task ConnectAsync(CancellationToken cancellationToken)
    {
        await Task.Yield();
        try
        {
            var configuration = Configure(options.Value);
            if (options.Value.Redis.Length == 0)
            {
                _embedded = EmbeddedRedis.StartOrShare(options.Value.DataDirectory, loggers);
                configuration.EndPoints.Add(_embedded.EndPoint);
            }

            var name = string.Join(',', configuration.EndPoints);
            LogConnecting(logger, name);
            var multiplexer = await ConnectionMultiplexer.ConnectAsync(configuration);
            multiplexer.ConnectionFailed += (_, failure) => OnChanged(failure, () =>
            {
                // Attempts that fail meanwhile begin no new absence.
                Interlocked.CompareExchange(ref _lostAt, time.GetTimestamp(), 0);
                LogLost(logger, name, failure.FailureType);
            });
            multiplexer.ConnectionRestored += (_, restored) => OnChanged(restored, () =>
            {
                Interlocked.Exchange(ref _lostAt, 0);
                LogConnected(logger, name);
            });
            _multiplexer = multiplexer;
            while (!multiplexer.IsConnected)
            {
                LogWaiting(logger, name);
                await Task.Delay(TimeSpan.FromSeconds(1), cancellationToken);
            }

            LogConnected(logger, name);
            _first.TrySetResult(multiplexer);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            _first.TrySetCanceled(cancellationToken);
        }
        catch (Exception exception)
        {
            // Only a broken embedded server or name gets here; an absent Redis is waited for above.
            LogFailed(logger, exception.Message);
            _first.TrySetException(exception as StoreUnavailableException ?? new StoreUnavailableException(exception.Message));
            lifetime.StopApplication();
        }
    }

    // A server is reached by two connections, one of them for the channel; the operator is told once.
    private static void OnChanged(ConnectionFailedEventArgs change, Action tell)
    {
        if (change.ConnectionType == ConnectionType.Interactive)
        {
            tell();
        }
    }

    internal static ConfigurationOptions Configure(StorageOptions options)
    {
        var configuration = options.Redis.Length > 0 ? ConfigurationOptions.Parse(options.Redis) : new ConfigurationOptions();
        configuration.AbortOnConnectFail = false;
        configuration.ClientName ??= "gateway";
        configuration.AsyncTimeout = (int)options.Timeout.TotalMilliseconds;
        configuration.SyncTimeout = configuration.AsyncTimeout;
        configuration.ConnectTimeout = Math.Min(configuration.ConnectTimeout, 2000);
        configuration.ReconnectRetryPolicy = new LinearRetry(500);
        // A call made while Redis is away fails now; the caller has a cache.
        configuration.BacklogPolicy = BacklogPolicy.FailFast;
        return configuration;
    }

    /// <summary>True for what Redis throws when it is away, slow, or not ready.</summary>
    public static bool IsUnavailable(Exception exception) =>
        exception is RedisConnectionException or RedisTimeoutException or TimeoutException or StoreUnavailableException or SocketException or ObjectDisposedException
        || exception is RedisServerException server && (server.Message.StartsWith("LOADING", StringComparison.Ordinal) || server.Message.StartsWith("READONLY", StringComparison.Ordinal)
            || server.Message.StartsWith("CLUSTERDOWN", StringComparison.Ordinal) || server.Message.StartsWith("MASTERDOWN", StringComparison.Ordinal));

    [LoggerMessage(Level = LogLevel.Information, Message = "Connecting to Redis at {Name}")]
    private static partial void LogConnecting(ILogger logger, string name);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Redis at {Name} does not answer yet; not ready, and trying again")]
    private static partial void LogWaiting(ILogger logger, string name);

    [LoggerMessage(Level = LogLevel.Information, Message = "Connected to Redis at {Name}")]
    private static partial void LogConnected(ILogger logger, string name);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Lost Redis at {Name} ({Failure}); what is known stays in use while it is away")]
    private static partial void LogLost(ILogger logger, string name, ConnectionFailureType failure);

    [LoggerMessage(Level = LogLevel.Critical, Message = "There is no store: {Reason}")]
    private static partial void LogFailed(ILogger logger, string reason);
}

/// <summary>The store cannot be asked now.</summary>
internal sealed class StoreUnavailableException(string message) : Exception(message);
