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
    private readonly SemaphoreSlim _reading = new(1, 1);
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

    /// <summary>
    /// Ends the body and waits for a read that is under way: the server, which takes what is left of the request once it has been
    /// answered, would find its reader in use and end the sender's connection without a word.
    /// </summary>
    public async Task SettleAsync()
    {
        End();
        await _reading.WaitAsync();
        _reading.Release();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await _reading.WaitAsync(cancellationToken);
        try
        {
            if (HasEnded)
            {
                return 0;
            }

            HasBeenRead = true;
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
        finally
        {
            _reading.Release();
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
