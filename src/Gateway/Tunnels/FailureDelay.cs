using System.Collections.Concurrent;
using System.Net;
using Microsoft.Extensions.Options;

namespace Gateway.Tunnels;

/// <summary>
/// Slows the answers to wrong keys: 100 ms for the second failure of an address, doubling up to a limit, forgotten a
/// minute after the last one. A right key is never delayed, so that devices behind the same NAT do not suffer.
/// </summary>
internal sealed class FailureDelay(IOptions<TunnelOptions> options, TimeProvider time)
{
    private const int Capacity = 10_000;

    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Memory = TimeSpan.FromMinutes(1);

    private readonly ConcurrentDictionary<IPAddress, (int Count, long Last)> _failures = new();

    /// <summary>Counts a failure and waits as long as it has earned.</summary>
    public Task CountAsync(IPAddress? address, CancellationToken cancellationToken)
    {
        if (_failures.Count >= Capacity)
        {
            Forget();
        }

        var (count, _) = _failures.AddOrUpdate(
            ClientNetwork.Of(address),
            static (_, now) => (1, now),
            (_, known, now) => (time.GetElapsedTime(known.Last, now) > Memory ? 1 : known.Count + 1, now),
            time.GetTimestamp());
        if (count == 1)
        {
            return Task.CompletedTask;
        }

        var delay = First * Math.Pow(2, Math.Min(count - 2, 16));
        var limit = options.Value.MaxFailureDelay;
        return Task.Delay(delay < limit ? delay : limit, time, cancellationToken);
    }

    private void Forget()
    {
        foreach (var (address, (_, last)) in _failures)
        {
            if (time.GetElapsedTime(last) > Memory)
            {
                _failures.TryRemove(address, out _);
            }
        }

        if (_failures.Count >= Capacity)
        {
            _failures.Clear();
        }
    }
}
