namespace Gateway.Limits;

/// <summary>What one device has under way on this node, and how often it dials.</summary>
internal sealed class DeviceUse
{
    private int _requests;
    private int _webSockets;
    private Pace _connects;
    private DeviceBacklog? _backlog;

    /// <summary>What waits in memory in its exchanges.</summary>
    public DeviceBacklog Backlog => LazyInitializer.EnsureInitialized(ref _backlog);

    /// <summary>One request more; false when the device has as many as it may.</summary>
    public bool TryEnter(LimitOptions.DeviceLimits limits, bool isWebSocket)
    {
        if (!Counting.TryAdd(ref _requests, limits.Requests))
        {
            return false;
        }

        if (!isWebSocket || Counting.TryAdd(ref _webSockets, limits.WebSockets))
        {
            return true;
        }

        Interlocked.Decrement(ref _requests);
        return false;
    }

    public void Leave(bool isWebSocket)
    {
        Interlocked.Decrement(ref _requests);
        if (isWebSocket)
        {
            Interlocked.Decrement(ref _webSockets);
        }
    }

    /// <summary>One tunnel more within the pace.</summary>
    public bool TryConnect(in PaceLimit limit, long now) => _connects.TryTake(limit, now);
}
