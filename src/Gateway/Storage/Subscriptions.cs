using StackExchange.Redis;

namespace Gateway.Storage;

/// <summary>Channels, for who polls as well and therefore need not hear everything.</summary>
internal static class Subscriptions
{
    /// <summary>Hears what is published from now on; the connection subscribes again by itself when it was lost.</summary>
    /// <returns>False when Redis is away just now: try again.</returns>
    public static async Task<bool> TrySubscribeAsync(this ConnectionMultiplexer multiplexer, RedisChannel channel, Action<RedisValue> hear)
    {
        try
        {
            await multiplexer.GetSubscriber().SubscribeAsync(channel, (_, message) => hear(message));
            return true;
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            return false;
        }
    }
}
