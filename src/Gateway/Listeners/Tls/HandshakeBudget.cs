using System.Net.Sockets;
using System.Threading.Channels;
using System.Threading.RateLimiting;
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

    /// <summary>Tokens come this often: few begin at a time, and a visitor waits behind few.</summary>
    private const int SharesPerSecond = 100;

    private readonly TokenBucketRateLimiter _limiter;
    private readonly GatewayMetrics _metrics;
    private readonly int _mostWaiting;
    private readonly Channel<Waiting> _queue = Channel.CreateUnbounded<Waiting>(new UnboundedChannelOptions { SingleReader = true });
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

    /// <summary>Waits for a connection's turn.</summary>
    /// <returns>False when too many wait already, or the client has gone.</returns>
    public async ValueTask<bool> TryEnterAsync(Socket socket)
    {
        if (Volatile.Read(ref _waiting) == 0)
        {
            using var lease = _limiter.AttemptAcquire();
            if (lease.IsAcquired)
            {
                return true;
            }
        }

        var waiting = new Waiting(socket);
        if (Interlocked.Increment(ref _waiting) > _mostWaiting || !_queue.Writer.TryWrite(waiting))
        {
            Interlocked.Decrement(ref _waiting);
            _metrics.TunnelConnect(GatewayMetrics.Connect.Overloaded);
            return false;
        }

        using (_metrics.HandshakeWaits())
        {
            return await waiting.Turn;
        }
    }

    public async ValueTask DisposeAsync()
    {
        _queue.Writer.TryComplete();
        await _limiter.DisposeAsync();
        await _serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        while (_queue.Reader.TryRead(out var waiting))
        {
            waiting.End(false);
        }
    }

    private async Task ServeAsync()
    {
        while (await _queue.Reader.WaitToReadAsync())
        {
            using var lease = await _limiter.AcquireAsync();

            // The turn is the first one's who is still there: devices that gave up in the meantime have dialled again, and wait farther behind.
            while (_queue.Reader.TryRead(out var waiting))
            {
                Interlocked.Decrement(ref _waiting);
                var isThere = !TcpProgress.HasEnded(waiting.Socket);
                waiting.End(isThere);
                if (isThere)
                {
                    break;
                }
            }
        }
    }

    private sealed class Waiting(Socket socket)
    {
        private readonly TaskCompletionSource<bool> _turn = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Socket Socket => socket;

        public Task<bool> Turn => _turn.Task;

        public void End(bool hasTurn) => _turn.TrySetResult(hasTurn);
    }
}
