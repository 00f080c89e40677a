namespace Gateway.Limits;

/// <summary>What one visitor's address has under way. Each has its own, so that visitors do not meet at a lock.</summary>
internal sealed class VisitorUse
{
    private int _connections;
    private int _requests;
    private Pace _connects;
    private Pace _pace;

    /// <summary>One connection more, unless there are <paramref name="limit"/>; 0 for no limit.</summary>
    public bool TryConnect(int limit) => Counting.TryAdd(ref _connections, limit);

    /// <summary>One connection more within the pace.</summary>
    public bool TryTakeConnection(in PaceLimit limit, long now) => _connects.TryTake(limit, now);

    public void Disconnect() => Interlocked.Decrement(ref _connections);

    /// <summary>One request more, unless there are <paramref name="limit"/>; 0 for no limit.</summary>
    public bool TryEnter(int limit) => Counting.TryAdd(ref _requests, limit);

    public void Leave() => Interlocked.Decrement(ref _requests);

    /// <summary>One request more within the pace.</summary>
    public bool TryTake(in PaceLimit limit, long now) => _pace.TryTake(limit, now);

    /// <summary>Whether a new one would be the same.</summary>
    public bool IsIdle(long now) => Volatile.Read(ref _connections) == 0 && IsDone && _pace.IsFull(now) && _connects.IsFull(now);

    /// <summary>Whether nothing is under way; how much there was is forgotten with it.</summary>
    public bool IsUnused => Volatile.Read(ref _connections) == 0 && IsDone;

    private bool IsDone => Volatile.Read(ref _requests) == 0;
}
