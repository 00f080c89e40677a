namespace Gateway.Limits;

/// <summary>
/// Gives memory back when much work is over. The garbage collector works when something is allocated: a node to which thousands of
/// devices came back, and that is quiet since, would keep for hours what it needed meanwhile.
/// </summary>
internal sealed partial class QuietMemory(MemoryUse memory, TimeProvider time, ILogger<QuietMemory> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    /// <summary>Bytes in an interval: some fifty visits a second, or the heartbeats of tens of thousands of tunnels.</summary>
    private const long QuietAllocation = 5 << 20;

    private const long WorthwhileAtLeast = 32 << 20;

    private long _looked;
    private long _reclaimed;

    /// <summary>
    /// The process stands still for about two milliseconds a mebibyte that lives, so it has to be worth it: as much has been allocated
    /// since the last time as lived then. With 10,000 tunnels and as many visits as may be called quiet that is 0.2 s in two minutes.
    /// </summary>
    private long _worthwhile = WorthwhileAtLeast;

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
        var isQuiet = allocated - _looked < QuietAllocation;
        _looked = allocated;
        if (!isQuiet || allocated - _reclaimed < _worthwhile)
        {
            return;
        }

        var (used, started) = (memory.Used, time.GetTimestamp());
        memory.Reclaim();
        _reclaimed = allocated;
        _worthwhile = Math.Max(memory.Live, WorthwhileAtLeast);
        var took = time.GetElapsedTime(started);
        LogGivenBack(logger, used >> 20, memory.Used >> 20, took.TotalMilliseconds);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The node is quiet: {Before} MiB of memory became {After} MiB in {Milliseconds:0} ms")]
    private static partial void LogGivenBack(ILogger logger, long before, long after, double milliseconds);
}
