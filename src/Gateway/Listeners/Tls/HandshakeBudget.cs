using System.Diagnostics.CodeAnalysis;
using System.Threading.Channels;
using System.Threading.RateLimiting;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Tls;

/// <summary>
/// How many devices' TLS handshakes a node begins in a second. When thousands of devices come back at once, those beyond it
/// wait, first come, first served, and visitors keep their part of the processor; visitors' own handshakes do not wait. A
/// waiting connection has cost nothing but its first record.
/// </summary>
internal sealed class HandshakeBudget : IAsyncDisposable
{
    private const int PerProcessor = 100;

    /// <summary>The most often that tokens come, a timer's limit: as a rule each alone, so that a visitor waits behind one.</summary>
    private const int SharesPerSecond = 1000;

    private readonly TokenBucketRateLimiter _limiter;
    private readonly GatewayMetrics _metrics;
    private readonly int _mostWaiting;
    private readonly Channel<(IArrival Arrival, GatewayMetrics.Counted Counted)> _queue = Channel.CreateUnbounded<(IArrival, GatewayMetrics.Counted)>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Task _serving;
    private int _waiting;

    public HandshakeBudget(IOptions<TlsOptions> options, GatewayMetrics metrics)
    {
        var perSecond = options.Value.DeviceHandshakesPerSecond is > 0 and var given ? given : PerProcessor * Environment.ProcessorCount;
        var share = Math.Max(1, perSecond / SharesPerSecond);
        _metrics = metrics;
        _mostWaiting = options.Value.MaxWaitingHandshakes;
        _limiter = new TokenBucketRateLimiter(new TokenBucketRateLimiterOptions
        {
            TokenLimit = share * 2,
            TokensPerPeriod = share,
            ReplenishmentPeriod = TimeSpan.FromSeconds((double)share / perSecond),
            QueueLimit = 1,
            QueueProcessingOrder = QueueProcessingOrder.OldestFirst,
        });
        _serving = ServeAsync();
    }

    /// <summary>Lets a device's handshake begin, at once or when its turn comes.</summary>
    /// <returns>False when too many wait already.</returns>
    public bool TryEnter(IArrival arrival)
    {
        if (Volatile.Read(ref _waiting) == 0)
        {
            using var lease = _limiter.AttemptAcquire();
            if (lease.IsAcquired)
            {
                arrival.Begin();
                return true;
            }
        }

        var counted = _metrics.HandshakeWaits();
        if (Interlocked.Increment(ref _waiting) <= _mostWaiting && _queue.Writer.TryWrite((arrival, counted)))
        {
            return true;
        }

        Interlocked.Decrement(ref _waiting);
        counted.Dispose();
        _metrics.TunnelConnect(GatewayMetrics.Connect.Overloaded);
        return false;
    }

    public async ValueTask DisposeAsync()
    {
        _queue.Writer.TryComplete();
        await _limiter.DisposeAsync();
        await _serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (TryTake(out var arrival))
        {
            arrival.Leave();
        }
    }

    private async Task ServeAsync()
    {
        while (await _queue.Reader.WaitToReadAsync())
        {
            using var lease = await _limiter.AcquireAsync();

            // The turn is the first one's who is still there: devices that gave up have dialled again, and wait farther behind.
            while (TryTake(out var arrival))
            {
                if (arrival.IsThere)
                {
                    arrival.Begin();
                    break;
                }

                arrival.Leave();
            }
        }
    }

    private bool TryTake([NotNullWhen(true)] out IArrival? arrival)
    {
        if (!_queue.Reader.TryRead(out var first))
        {
            arrival = null;
            return false;
        }

        Interlocked.Decrement(ref _waiting);
        first.Counted.Dispose();
        arrival = first.Arrival;
        return true;
    }

    /// <summary>A device's connection before its handshake. It is an object and no task: a task that has waited for long would keep what comes of it from being collected.</summary>
    internal interface IArrival
    {
        /// <summary>Whether the device still waits.</summary>
        bool IsThere { get; }

        /// <summary>Begins the handshake, and returns.</summary>
        void Begin();

        /// <summary>Closes the connection.</summary>
        void Leave();
    }
}
