namespace Tunnel.Protocol.DeviceSide;

/// <summary>
/// How long to wait before the next attempt: exponential with full jitter and a cap, so that a fleet that was cut off
/// at one moment does not come back at one moment.
/// </summary>
internal sealed class Backoff(TimeSpan first, TimeSpan max, Random random)
{
    private int _failures;

    /// <summary>The pause before the next attempt: uniform between zero and a bound that doubles each time.</summary>
    /// <param name="atLeast">What the gateway asked for (<c>Retry-After</c>), if it did; the jitter is added to it.</param>
    public TimeSpan Next(TimeSpan? atLeast = null)
    {
        var bound = Math.Min(max.TotalMilliseconds, first.TotalMilliseconds * Math.Pow(2, Math.Min(_failures++, 30)));
        return TimeSpan.FromMilliseconds(random.NextDouble() * bound) + (atLeast ?? TimeSpan.Zero);
    }

    /// <summary>A tunnel was up for long enough to count as a success.</summary>
    public void Reset() => _failures = 0;
}
