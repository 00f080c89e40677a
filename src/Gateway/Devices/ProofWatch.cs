namespace Gateway.Devices;

/// <summary>A tunnel's interest in what proves its right to exist. There is one for each tunnel, and it costs little more than itself.</summary>
internal abstract class ProofWatch : IDisposable
{
    private static readonly Action Ended = static () => { };

    private Action? _atEnd;

    /// <summary>Calls <paramref name="action"/> once when the proof is worth nothing any more; at once when it is so already. To be called once.</summary>
    public void AtEnd(Action action)
    {
        if (Interlocked.CompareExchange(ref _atEnd, action, null) is not null)
        {
            action();
        }
    }

    /// <summary>The proof is worth nothing any more.</summary>
    public void End() => Interlocked.Exchange(ref _atEnd, Ended)?.Invoke();

    /// <summary>Ends the interest.</summary>
    public abstract void Dispose();
}
