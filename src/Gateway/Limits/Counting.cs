namespace Gateway.Limits;

/// <summary>Counters that several use at once.</summary>
internal static class Counting
{
    /// <summary>Adds one, unless the limit is reached; 0 for no limit.</summary>
    public static bool TryAdd(ref int count, int limit)
    {
        if (Interlocked.Increment(ref count) <= limit || limit == 0)
        {
            return true;
        }

        Interlocked.Decrement(ref count);
        return false;
    }
}
