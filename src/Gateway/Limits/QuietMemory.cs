namespace Gateway.Limits;

/// <summary>
/// Gives memory back when much work is over. The garbage collector works when something is allocated: a node to which thousands of
/// devices came back, and that is quiet since, would keep for hours what it needed meanwhile.
/// </summary>
internal sealed partial class QuietMemory(MemoryUse memory, TimeProvider time, ILogger<QuietMemory> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>Bytes in an interval: some fifty visits a second.</summary>
    private const long QuietAllocation = 5 << 20;

    /// <summary>
    /// The part of what lives that may be allocated in an interval: a node reads the records of its tunnels anew every minute, all
    /// within seconds if that is how the devices came, and has more to do the more of them it has.
    /// </summary>
    private const int QuietShare = 6;

    private const long WorthwhileAtLeast = 32 << 20;

    private long _looked;
    private long _reclaimed;
    private long _living;

    /// <summary>
    /// The process stands still for about two milliseconds a mebibyte that lives, so it has to be worth it: twice as much has been
    /// allocated since the last time as lived then. With 10,000 tunnels and as much going on as may be called quiet that is 0.2 s in a minute.
    /// </summary>
    private long Worthwhile => Math.Max(2 * _living, WorthwhileAtLeast);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
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

    /// <summary>What is done after every interval.</summary>
    internal void Look()
    {
        var allocated = memory.Allocated;
        var isQuiet = allocated - _looked < Math.Max(QuietAllocation, _living / QuietShare);
        _looked = allocated;
        if (!isQuiet || allocated - _reclaimed < Worthwhile)
        {
            return;
        }

        var (used, started) = (memory.Used, time.GetTimestamp());
        memory.Reclaim();
        _reclaimed = allocated;
        _living = memory.Live;
        var took = time.GetElapsedTime(started);
        LogGivenBack(logger, used >> 20, memory.Used >> 20, took.TotalMilliseconds);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The node is quiet: {Before} MiB of memory became {After} MiB in {Milliseconds:0} ms")]
    private static partial void LogGivenBack(ILogger logger, long before, long after, double milliseconds);
}
