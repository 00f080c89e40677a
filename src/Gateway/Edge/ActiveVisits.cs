namespace Gateway.Edge;

/// <summary>Counts visitors' requests in flight, so that a stop can wait for the last one.</summary>
internal sealed class ActiveVisits
{
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _active;
    private volatile bool _stopping;

    public Visit Begin()
    {
        Interlocked.Increment(ref _active);
        return new Visit(this);
    }

    /// <summary>Completes when no request is in flight any more.</summary>
    public Task WhenIdleAsync()
    {
        _stopping = true;
        if (Volatile.Read(ref _active) == 0)
        {
            _idle.TrySetResult();
        }

        return _idle.Task;
    }

    private void End()
    {
        if (Interlocked.Decrement(ref _active) == 0 && _stopping)
        {
            _idle.TrySetResult();
        }
    }

    /// <summary>One request, until disposed of.</summary>
    public readonly struct Visit(ActiveVisits visits) : IDisposable
    {
        public void Dispose() => visits.End();
    }
}
