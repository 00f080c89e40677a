using StackExchange.Redis;

namespace Gateway.Storage;

/// <summary>
/// Changes on a condition, in one step within Redis. The client's transactions with conditions are not used: they block a
/// thread of the pool until the condition is answered, and call a Redis that is slow a condition that does not hold.
/// </summary>
internal static class Scripts
{
    /// <summary>Runs a script on one key.</summary>
    /// <param name="database">The database.</param>
    /// <param name="script">Returns 1 when it has changed something, and 0 when its condition does not hold.</param>
    /// <param name="key">Its <c>KEYS[1]</c>.</param>
    /// <param name="arguments">Its <c>ARGV</c>.</param>
    /// <exception cref="RedisException">Redis is away or slow: whether anything was changed is not known.</exception>
    public static async Task<bool> TryEvaluateAsync(this IDatabase database, string script, RedisKey key, RedisValue[] arguments) =>
        (int)await database.ScriptEvaluateAsync(script, [key], arguments) == 1;
}
