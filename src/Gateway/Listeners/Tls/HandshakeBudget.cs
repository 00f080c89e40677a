using System.Diagnostics.CodeAnalysis;
using System.Threading.Channels;
using Gateway.Limits;
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

    /// <summary>Two begin at once at the most, so that a visitor waits behind few; of many more in a second, those of so long: a timer is as late as that.</summary>
    private static readonly TimeSpan Burst = TimeSpan.FromMilliseconds(2);

    private readonly PaceLimit _limit;
    private readonly GatewayMetrics _metrics;
    private readonly TimeProvider _time;
    private readonly int _mostWaiting;
    private readonly Channel<(IArrival Arrival, GatewayMetrics.Counted Counted)> _queue = Channel.CreateUnbounded<(IArrival, GatewayMetrics.Counted)>(new UnboundedChannelOptions { SingleReader = true });
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _serving;
    private Pace _pace;
    private int _waiting;

    public HandshakeBudget(IOptions<TlsOptions> options, GatewayMetrics metrics, TimeProvider time)
    {
        var perSecond = options.Value.DeviceHandshakesPerSecond is > 0 and var given ? given : PerProcessor * Environment.ProcessorCount;
        var two = 2 / (double)perSecond;
        _limit = PaceLimit.Of(perSecond, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(Math.Max(two, Burst.TotalSeconds)), time);
        (_metrics, _time) = (metrics, time);
        _mostWaiting = options.Value.MaxWaitingHandshakes;
        _serving = ServeAsync();
    }

    /// <summary>Lets a device's handshake begin, at once or when its turn comes.</summary>
    /// <returns>False when too many wait already.</returns>
    public bool TryEnter(IArrival arrival)
    {
        if (Volatile.Read(ref _waiting) == 0 && _pace.TryTake(_limit, _time.GetTimestamp()))
        {
            arrival.Begin();
            return true;
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
        await _stop.CancelAsync();
        await _serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
        while (TryTake(out var arrival))
        {
            arrival.Leave();
        }
    }

    private async Task ServeAsync()
    {
        while (await _queue.Reader.WaitToReadAsync(_stop.Token))
        {
            // A clock that runs only while somebody waits: an idle node sleeps.
            for (long now; !_pace.TryTake(_limit, now = _time.GetTimestamp());)
            {
                var missing = _time.GetElapsedTime(0, _pace.Missing(_limit, now));
                await Task.Delay(TimeSpan.FromMilliseconds(Math.Ceiling(missing.TotalMilliseconds)), _time, _stop.Token);
            }

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
