using Gateway.Storage;
using StackExchange.Redis;

namespace Gateway.Certificates.Shared;

/// <summary>
/// What has to be answered to an ACME server that checks a name, whichever node it asks. It is not secret: the server's
/// public answer is made of it.
/// </summary>
internal sealed class ChallengeStore(RedisConnection redis) : IDisposable
{
    // An order is over, one way or the other, long before.
    private static readonly TimeSpan TimeToLive = TimeSpan.FromMinutes(30);

    // Strangers may ask as well: so many questions to Redis at the same time, and no more.
    private readonly SemaphoreSlim _questions = new(32);

    /// <summary>Publishes an answer beside those that are there.</summary>
    /// <param name="kind">The kind of challenge.</param>
    /// <param name="key">What the server will ask for.</param>
    /// <param name="value">What it wants to see.</param>
    public async Task AddAsync(string kind, string key, string value)
    {
        await redis.Database.SetAddAsync(KeyOf(kind, key), value);
        await redis.Database.KeyExpireAsync(KeyOf(kind, key), TimeToLive);
    }

    public Task RemoveAsync(string kind, string key, string value) => redis.Database.SetRemoveAsync(KeyOf(kind, key), value);

    /// <summary>The answers; none when there are none, or too many ask.</summary>
    public async Task<IReadOnlyList<string>> FindAsync(string kind, string key)
    {
        if (!await _questions.WaitAsync(TimeSpan.FromSeconds(1)))
        {
            return [];
        }

        try
        {
            return [.. (await redis.Database.SetMembersAsync(KeyOf(kind, key))).Select(static value => (string)value!)];
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            return [];
        }
        finally
        {
            _questions.Release();
        }
    }

    public void Dispose() => _questions.Dispose();

    private static RedisKey KeyOf(string kind, string key) => $"acme:challenge:{kind}:{{{key}}}";
}
