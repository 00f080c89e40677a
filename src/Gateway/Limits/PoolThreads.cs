namespace Gateway.Limits;

/// <summary>
/// Has the kernel share processors between visitors and handshakes. A handshake keeps its thread for milliseconds; among as many
/// threads as processors, the platform's own number, a visitor's work waits for whole ones, among more it gets its part at once.
/// </summary>
internal static class PoolThreads
{
    private const int PerProcessor = 3;

    /// <summary>From now on so many threads start without delay; an operator's own number (<c>DOTNET_ThreadPool_ForceMinWorkerThreads</c>) stays.</summary>
    public static void Raise()
    {
        ThreadPool.GetMinThreads(out var workers, out var completions);
        if (workers == Environment.ProcessorCount)
        {
            ThreadPool.SetMinThreads(workers * PerProcessor, completions);
        }
    }
}
