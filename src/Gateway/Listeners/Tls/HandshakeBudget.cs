using System.Threading.RateLimiting;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Tls;

/// <summary>
/// How many devices' TLS handshakes a node begins in a second. When thousands of devices come back at once, those beyond it
/// wait, first come, first served, and visitors keep their part of the processor; visitors' own handshakes do not wait. A
/// waiting connection has cost nothing but its first record.
/// </summary>
internal sealed class HandshakeBudget : IDisposable
{
    private const int PerProcessor = 100;

    /// <summary>Tokens come this often: few begin at a time, and a visitor waits behind few.</summary>
    private const int SharesPerSecond = 100;

    private readonly TokenBucketRateLimiter _limiter;
    private readonly GatewayMetrics _metrics;

    public HandshakeBudget(IOptions<TlsOptions> options, GatewayMetrics metrics)
    {
        var perSecond = options.Value.DeviceHandshakesPerSecond is > 0 and var given ? given : PerProcessor * Environment.ProcessorCount;
        var share = Math.Max(1, perSecond / SharesPerSecond);
        _metrics = metrics;
        _limiter = new TokenBucketRateLimiter(new TokenBucketRateLimiterOptions
        {
            TokenLimit = share * 2,
            TokensPerPeriod = share,
            ReplenishmentPeriod = TimeSpan.FromSeconds((double)share / perSecond),
            QueueLimit = options.Value.MaxWaitingHandshakes,
            QueueProcessingOrder = QueueProcessingOrder.OldestFirst,
        });
    }

    /// <summary>Waits for the connection's turn.</summary>
    /// <returns>False when too many wait already, or the client has gone.</returns>
    public async ValueTask<bool> TryEnterAsync(ConnectionContext connection)
    {
        var turn = _limiter.AcquireAsync(1, connection.ConnectionClosed);
        if (turn.IsCompletedSuccessfully)
        {
            return Enter(turn.Result);
        }

        using var waiting = _metrics.HandshakeWaits();
        try
        {
            return Enter(await turn);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    public void Dispose() => _limiter.Dispose();

    private bool Enter(RateLimitLease lease)
    {
        using (lease)
        {
            if (!lease.IsAcquired)
            {
                _metrics.TunnelConnect(GatewayMetrics.Connect.Overloaded);
            }

            return lease.IsAcquired;
        }
    }
}

internal static class HandshakeBudgetExtensions
{
    /// <summary>Comes before the TLS middleware.</summary>
    public static IConnectionBuilder UseHandshakeBudget(this IConnectionBuilder connections, HandshakeBudget budget, HostNames hosts) => connections.Use(next => async connection =>
    {
        // A client that says nothing in time, or is gone, is left at that.
        if (await ClientHello.PeekAsync(connection.Transport.Input, connection.ConnectionClosed) is { } hello
            && (!hosts.IsTunnel(ClientHello.ServerNameOf(hello)) || await budget.TryEnterAsync(connection)))
        {
            await next(connection);
        }
    });
}
