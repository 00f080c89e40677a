namespace Gateway.Tunnels;

/// <summary>
/// The order of a stop: visitors' requests in flight finish first, tunnels end after them. Kestrel alone would wait for
/// the tunnels too, which never end by themselves.
/// </summary>
internal sealed class TunnelDrain
{
    private readonly TaskCompletionSource _finished = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when the tunnels shall end.</summary>
    public Task Finished => _finished.Task;

    /// <summary>Ends the tunnels.</summary>
    public void Finish() => _finished.TrySetResult();
}
