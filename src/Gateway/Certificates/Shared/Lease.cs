using Gateway.Storage;
using StackExchange.Redis;

namespace Gateway.Certificates.Shared;

/// <summary>
/// The right to do something that only one node may do at a time. It is extended while it is held; a node that dies loses
/// it after <see cref="Duration"/>, and one that cannot reach Redis in time is told by <see cref="Lost"/>.
/// </summary>
internal sealed class Lease : IAsyncDisposable
{
    /// <summary>How long a dead node keeps others waiting.</summary>
    public static readonly TimeSpan Duration = TimeSpan.FromSeconds(15);

    private readonly IDatabase _database;
    private readonly RedisKey _key;
    private readonly RedisValue _token;
    private readonly CancellationTokenSource _lost;
    private readonly CancellationTokenSource _released = new();
    private readonly Task _extending;

    private Lease(IDatabase database, RedisKey key, RedisValue token, CancellationToken cancellationToken)
    {
        (_database, _key, _token) = (database, key, token);
        _lost = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _extending = ExtendAsync();
    }

    /// <summary>Is cancelled when the lease is lost, or the caller's own token is.</summary>
    public CancellationToken Lost => _lost.Token;

    /// <summary>Takes a lease; null when another holds it.</summary>
    public static async Task<Lease?> TryTakeAsync(IDatabase database, RedisKey key, CancellationToken cancellationToken)
    {
        RedisValue token = Guid.NewGuid().ToString("N");
        return await database.LockTakeAsync(key, token, Duration) ? new Lease(database, key, token, cancellationToken) : null;
    }

    public async ValueTask DisposeAsync()
    {
        await _released.CancelAsync();
        await _extending;
        try
        {
            await _database.LockReleaseAsync(_key, _token);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            // It runs out by itself.
        }

        _released.Dispose();
        _lost.Dispose();
    }

    private async Task ExtendAsync()
    {
        var extended = Environment.TickCount64;
        using var timer = new PeriodicTimer(Duration / 5);
        try
        {
            while (await timer.WaitForNextTickAsync(_released.Token))
            {
                try
                {
                    if (!await _database.LockExtendAsync(_key, _token, Duration))
                    {
                        break;
                    }

                    extended = Environment.TickCount64;
                }
                catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
                {
                    // A short absence is survived: the lease has not run out yet.
                    if (TimeSpan.FromMilliseconds(Environment.TickCount64 - extended) > Duration * 0.6)
                    {
                        break;
                    }
                }
            }

            await _lost.CancelAsync();
        }
        catch (OperationCanceledException) when (_released.IsCancellationRequested)
        {
            // Given back.
        }
    }
}
