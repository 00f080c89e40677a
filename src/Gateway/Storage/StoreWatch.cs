using Gateway.Telemetry;
using StackExchange.Redis.Profiling;

namespace Gateway.Storage;

/// <summary>Counts how long Redis takes, for every command of every room, and whether it is there.</summary>
internal sealed class StoreWatch(RedisConnection redis, GatewayMetrics metrics, TimeProvider time) : BackgroundService
{
    /// <summary>Commands are kept for as long, and what is kept for long costs the garbage collector.</summary>
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(100);

    private readonly ProfilingSession _session = new();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        metrics.ObserveStore(() => redis.IsConnected);
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            multiplexer.RegisterProfiler(() => _session);
            using var timer = new PeriodicTimer(Interval, time);
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                foreach (var command in _session.FinishProfiling())
                {
                    metrics.StoreAnswered(command.Command, command.ElapsedTime);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
        catch (StoreUnavailableException)
        {
            // There will be no store: the connection has said so and ends the gateway.
        }
    }
}
