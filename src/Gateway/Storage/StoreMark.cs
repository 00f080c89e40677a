using StackExchange.Redis;

namespace Gateway.Storage;

/// <summary>
/// Tells a Redis that was emptied, or replaced by an empty one, from a Redis in which something was deleted: a key that is
/// written once and never again (<c>store</c> in docs/redis.md). While the mark is not the one that this node knows, what is
/// missing there says nothing; whoever holds a copy writes it back, and then the new mark counts.
/// </summary>
internal sealed partial class StoreMark(RedisConnection redis, TimeProvider time, ILogger<StoreMark> logger) : BackgroundService
{
    public static readonly RedisKey Key = "store";

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly SemaphoreSlim _wake = new(0);
    private readonly List<Func<Task>> _restorers = [];
    private string? _known;
    private long _emptiedAt;

    /// <summary>Whether Redis is the one that this node knows; true as long as it knows none.</summary>
    public async Task<bool> IsSameAsync() =>
        Volatile.Read(ref _known) is not { } known || (string?)await redis.Database.StringGetAsync(Key) == known;

    /// <summary>Whether Redis was found empty within the last <paramref name="span"/>: other nodes may not have written all of theirs yet.</summary>
    public bool WasEmptiedWithin(TimeSpan span) => Interlocked.Read(ref _emptiedAt) is not 0 and var at && time.GetElapsedTime(at) <= span;

    /// <summary>Before the start: what has to be written back, one after the other in this order; it is called again when Redis did not take it.</summary>
    public void WhenEmptied(Func<Task> restore) => _restorers.Add(restore);

    public override void Dispose()
    {
        _wake.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            multiplexer.ConnectionRestored += (_, _) => _wake.Release();
            while (true)
            {
                await TryCheckAsync();
                await _wake.WaitAsync(Interval, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
        catch (StoreUnavailableException)
        {
            // There will be no store: the connection has said so and ends the gateway.
        }
    }

    private async Task TryCheckAsync()
    {
        try
        {
            if (_known is not null)
            {
                if (await IsSameAsync())
                {
                    return;
                }

                Interlocked.Exchange(ref _emptiedAt, time.GetTimestamp());
                LogEmptied(logger);
                foreach (var restore in _restorers)
                {
                    await restore();
                }

                LogRestored(logger);
            }

            // Of many nodes one writes it.
            await redis.Database.StringSetAsync(Key, Guid.NewGuid().ToString("N"), when: When.NotExists);
            Volatile.Write(ref _known, (string?)await redis.Database.StringGetAsync(Key));
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            // Said by the connection; the next check does it.
        }
        catch (RedisException exception)
        {
            LogFailed(logger, exception);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Redis has been emptied: this node writes back what it knows of devices, domains and routes. Devices that no node knew are lost: restore a backup")]
    private static partial void LogEmptied(ILogger logger);

    [LoggerMessage(Level = LogLevel.Information, Message = "What this node knew is in Redis again")]
    private static partial void LogRestored(ILogger logger);

    [LoggerMessage(Level = LogLevel.Error, Message = "Redis could not be checked or written back; trying again")]
    private static partial void LogFailed(ILogger logger, Exception exception);
}
