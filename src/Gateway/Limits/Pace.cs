using System.Runtime.InteropServices;

namespace Gateway.Limits;

/// <summary>How often something may happen: so many times in a period, and as many at once.</summary>
/// <param name="Interval">Ticks of the clock from one to the next on average; 0 for no limit.</param>
/// <param name="Burst">Ticks that may be used up at once.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct PaceLimit(long Interval, long Burst)
{
    /// <summary>So many in a second, on average of <paramref name="period"/>, or in a period of their own; 0 for no limit.</summary>
    public static PaceLimit Of(int count, TimeSpan per, TimeSpan period, TimeProvider time)
    {
        var second = time.TimestampFrequency;
        return count == 0 ? default : new PaceLimit(Math.Max(1, (long)(second * per.TotalSeconds / count)), (long)(second * period.TotalSeconds));
    }
}

/// <summary>
/// Watches a <see cref="PaceLimit"/> (the generic cell rate algorithm: a token bucket that is one point in time). No lock, no
/// timer and no allocation: the platform's limiters have one of each, and this stands in the way of every request.
/// </summary>
internal struct Pace
{
    // When the whole burst is there again.
    private long _full;

    /// <summary>Takes one if there is one.</summary>
    /// <param name="limit">The same at every call.</param>
    /// <param name="now">A timestamp of the clock that the limit was made with.</param>
    public bool TryTake(in PaceLimit limit, long now)
    {
        if (limit.Interval == 0)
        {
            return true;
        }

        var full = Volatile.Read(ref _full);
        while (true)
        {
            if (Missing(limit, full, now) > 0)
            {
                return false;
            }

            var seen = Interlocked.CompareExchange(ref _full, Math.Max(full, now) + limit.Interval, full);
            if (seen == full)
            {
                return true;
            }

            full = seen;
        }
    }

    /// <summary>Ticks of the clock until there is one; 0 when there is.</summary>
    public long Missing(in PaceLimit limit, long now) => limit.Interval == 0 ? 0 : Math.Max(0, Missing(limit, Volatile.Read(ref _full), now));

    /// <summary>Whether there is nothing to remember: a new one would be the same.</summary>
    public bool IsFull(long now) => Volatile.Read(ref _full) <= now;

    private static long Missing(in PaceLimit limit, long full, long now) => Math.Max(full, now) + limit.Interval - now - limit.Burst;
}
