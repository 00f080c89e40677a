using System.Collections.Concurrent;
using System.Net;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>
/// What each visitor's address has under way. A connection finds its address here once and keeps it; requests do not come here. An
/// address that has nothing under way is forgotten when its pace is as good as new, or earlier when there are too many.
/// </summary>
internal sealed class VisitorBudgets(IOptions<LimitOptions> options, GatewayMetrics metrics, TimeProvider time) : BackgroundService
{
    /// <summary>The most addresses with nothing under way that are remembered, about 150 bytes each.</summary>
    internal const int Capacity = 50_000;

    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    private readonly ConcurrentDictionary<NetworkKey, VisitorUse> _uses = new();
    private IPNetwork[] _exempt = [.. options.Value.Exempt.Select(static text => IPNetwork.Parse(text))];
    private readonly bool _exemptLoopback = options.Value.ExemptLoopback;
    private int _count;

    /// <summary>How many addresses are known.</summary>
    public int Count => Volatile.Read(ref _count);

    /// <summary>Exempts further networks: proxies, whose connections bring many visitors.</summary>
    public void Exempt(IEnumerable<IPNetwork> networks) => _exempt = [.. _exempt, .. networks];

    /// <summary>The address' use; null for one that has no limits, and for what has no address (a Unix socket).</summary>
    public VisitorUse? Find(IPAddress? address)
    {
        if (address is null || IsExempt(address))
        {
            return null;
        }

        var key = NetworkKey.Of(address);
        if (_uses.TryGetValue(key, out var known))
        {
            return known;
        }

        var added = new VisitorUse();
        var use = _uses.GetOrAdd(key, added);
        if (ReferenceEquals(use, added) && Interlocked.Increment(ref _count) % Capacity == 0)
        {
            // Once for as many new ones as are to be remembered.
            Forget(static known => known.IsUnused);
        }

        return use;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        metrics.ObserveVisitors(() => Count);
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                var now = time.GetTimestamp();
                Forget(known => known.IsIdle(now));
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    // Who takes up a use in the same moment keeps one that nobody else finds: it counts by itself until it is let go.
    private void Forget(Func<VisitorUse, bool> forgettable)
    {
        foreach (var known in _uses)
        {
            if (forgettable(known.Value) && _uses.TryRemove(known))
            {
                Interlocked.Decrement(ref _count);
            }
        }
    }

    private bool IsExempt(IPAddress address)
    {
        if (_exemptLoopback && IPAddress.IsLoopback(address))
        {
            return true;
        }

        if (_exempt.Length == 0)
        {
            return false;
        }

        address = address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
        foreach (var network in _exempt)
        {
            if (network.Contains(address))
            {
                return true;
            }
        }

        return false;
    }
}
