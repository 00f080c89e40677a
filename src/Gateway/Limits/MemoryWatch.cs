using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>
/// Sheds load before the process runs out of memory: above the watermark new requests and tunnels are refused, halfway from there to
/// the end new connections too, and what is under way goes on. Ends a tenth below the watermark.
/// </summary>
internal sealed partial class MemoryWatch(MemoryUse memory, IOptions<LimitOptions> options, GatewayMetrics metrics, TimeProvider time, ILogger<MemoryWatch> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);

    /// <summary>Garbage is looked for no more often than this: it holds everybody up.</summary>
    private static readonly TimeSpan ReclaimInterval = TimeSpan.FromSeconds(5);

    private readonly double _watermark = options.Value.Node.MemoryPercent is > 0 and var percent ? percent / 100.0 : double.PositiveInfinity;
    private long _reclaimedAt;
    private volatile bool _shedding;
    private volatile bool _critical;

    /// <summary>Whether new work is refused.</summary>
    public bool IsShedding => _shedding;

    /// <summary>Whether new connections are refused, too.</summary>
    public bool IsCritical => _critical;

    /// <summary>Share of the available memory that is used.</summary>
    private double Share => (double)memory.Used / memory.Available;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        metrics.ObserveMemory(() => Share, () => IsShedding);
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                Look();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    private void Look()
    {
        var share = Share;
        var watermark = _shedding ? _watermark * 0.9 : _watermark;
        if (share > watermark && (_reclaimedAt == 0 || time.GetElapsedTime(_reclaimedAt) > ReclaimInterval))
        {
            // Much of it may be garbage: nobody is refused for that.
            memory.Reclaim();
            _reclaimedAt = time.GetTimestamp();
            share = Share;
        }

        var shedding = share > watermark;
        _critical = share > (1 + _watermark) / 2;
        if (shedding != _shedding)
        {
            _shedding = shedding;
            if (shedding)
            {
                LogShedding(logger, memory.Used >> 20, memory.Available >> 20);
            }
            else
            {
                LogRecovered(logger, memory.Used >> 20, memory.Available >> 20);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "New requests and tunnels are refused: {Used} of {Available} MiB of memory are used (Limits:Node:MemoryPercent)")]
    private static partial void LogShedding(ILogger logger, long used, long available);

    [LoggerMessage(Level = LogLevel.Information, Message = "New requests and tunnels are taken again: {Used} of {Available} MiB of memory are used")]
    private static partial void LogRecovered(ILogger logger, long used, long available);
}
