namespace Gateway.Edge;

/// <summary>Visitors' requests in flight: counted, so that a stop can wait for the last one, and told when the node goes away.</summary>
internal sealed class ActiveVisits : IDisposable
{
    private readonly TaskCompletionSource _idle = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationTokenSource _leaving = new();
    private int _active;
    private volatile bool _stopping;

    /// <summary>How many there are.</summary>
    public int Count => Volatile.Read(ref _active);

    /// <summary>Is cancelled when the node goes away: what would last for ever should end well.</summary>
    public CancellationToken Leaving => _leaving.Token;

    public Visit Begin()
    {
        Interlocked.Increment(ref _active);
        return new Visit(this);
    }

    /// <summary>The node goes away.</summary>
    public void SayGoodbye() => _leaving.Cancel();

    /// <summary>The node stays after all: for new requests <see cref="Leaving"/> begins anew.</summary>
    public void Welcome() => _leaving = new CancellationTokenSource();

    /// <summary>Completes when no request is in flight any more.</summary>
    public Task WhenIdleAsync()
    {
        _stopping = true;
        if (Count == 0)
        {
            _idle.TrySetResult();
        }

        return _idle.Task;
    }

    public void Dispose() => _leaving.Dispose();

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
