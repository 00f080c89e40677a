namespace Tunnel.Forwarding;

/// <summary>
/// A request's body on its way through a forwarder. It leaves as it arrives: before the forwarder waits for more of it,
/// what it has is sent. And it can be ended, when nobody reads it any more.
/// </summary>
/// <param name="inner">The body as it arrives.</param>
/// <param name="progressed">Is called for each part that has arrived.</param>
public sealed class UploadBody(Stream inner, Action? progressed) : AsyncStream
{
    private readonly CancellationTokenSource _ended = new();
    private CancellationTokenSource? _either;
    private CancellationToken _forwarders;

    /// <summary>Where to the body is copied.</summary>
    internal Stream? Outgoing { get; set; }

    /// <summary>Whether <see cref="End"/> was called: the receiver has not got the whole body.</summary>
    public bool HasEnded => _ended.IsCancellationRequested;

    /// <summary>The body as it arrives.</summary>
    internal Stream Inner => inner;

    /// <summary>Whether a part of it may have been taken from the sender; what was taken cannot be had again.</summary>
    public bool HasBeenRead { get; private set; }

    /// <summary>From now on the body reads as if its last byte had come; nothing more is taken from the sender.</summary>
    public void End() => _ended.Cancel();

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        HasBeenRead = true;
        try
        {
            var read = inner.ReadAsync(buffer, Either(cancellationToken));
            if (Outgoing is not null && !read.IsCompleted)
            {
                await Outgoing.FlushAsync(cancellationToken);
            }

            var count = await read;
            progressed?.Invoke();
            return count;
        }
        catch (OperationCanceledException) when (HasEnded && !cancellationToken.IsCancellationRequested)
        {
            return 0;
        }
    }

    // The forwarder gives the same token to every read.
    private CancellationToken Either(CancellationToken forwarders)
    {
        if (_either is null || forwarders != _forwarders)
        {
            _either?.Dispose();
            _either = CancellationTokenSource.CreateLinkedTokenSource(forwarders, _ended.Token);
            _forwarders = forwarders;
        }

        return _either.Token;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _either?.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <inheritdoc/>
    public override bool CanRead => true;
}
