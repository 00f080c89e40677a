using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;

namespace Tunnel.Forwarding;

/// <summary>
/// A request's body on its way through a forwarder. It leaves as it arrives: before the forwarder waits for more of it,
/// what it has is sent. And it can be ended, when nobody reads it any more.
/// </summary>
/// <remarks>
/// The server's reader never sees a cancelled token: it would count as being read from for ever, and the server, which takes what
/// is left of a request once it has been answered, would end the sender's connection without a word. A read is called off
/// instead (<see cref="PipeReader.CancelPendingRead"/>), and given back like any other.
/// </remarks>
/// <param name="reader">The body as it arrives.</param>
/// <param name="progressed">Is called for each part that has arrived.</param>
public sealed class UploadBody(PipeReader reader, Action? progressed) : AsyncStream
{
    private readonly SemaphoreSlim _reading = new(1, 1);
    private volatile bool _isWaiting;
    private volatile bool _hasEnded;

    /// <summary>Where to the body is copied.</summary>
    internal Stream? Outgoing { get; set; }

    /// <summary>Whether <see cref="End"/> was called: the receiver has not got the whole body.</summary>
    public bool HasEnded => _hasEnded;

    /// <summary>The body as it arrives.</summary>
    internal PipeReader Reader => reader;

    /// <summary>Whether a part of it may have been taken from the sender; what was taken cannot be had again.</summary>
    public bool HasBeenRead { get; private set; }

    /// <summary>From now on the body reads as if its last byte had come; nothing more is taken from the sender.</summary>
    public void End()
    {
        _hasEnded = true;
        CallOff();
    }

    /// <summary>Ends the body and waits until the server has its reader back.</summary>
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
            await using var calledOff = cancellationToken.UnsafeRegister(static body => ((UploadBody)body!).CallOff(), this);
            while (true)
            {
                _isWaiting = true;
                Interlocked.MemoryBarrier(); // whoever ends or cancels after this sees that somebody waits
                cancellationToken.ThrowIfCancellationRequested();
                if (_hasEnded)
                {
                    return 0;
                }

                HasBeenRead = true;
                var result = await ReadPromptlyAsync(cancellationToken);
                if (result.IsCanceled)
                {
                    reader.AdvanceTo(result.Buffer.Start);
                    continue;
                }

                var count = (int)Math.Min(buffer.Length, result.Buffer.Length);
                result.Buffer.Slice(0, count).CopyTo(buffer.Span);
                reader.AdvanceTo(result.Buffer.GetPosition(count));
                if (count > 0 || buffer.IsEmpty || result.IsCompleted)
                {
                    progressed?.Invoke();
                    return count;
                }
            }
        }
        catch (ConnectionAbortedException exception)
        {
            throw new TaskCanceledException("The sender has ended the request.", exception);
        }
        finally
        {
            _isWaiting = false;
            _reading.Release();
        }
    }

    private async ValueTask<ReadResult> ReadPromptlyAsync(CancellationToken cancellationToken)
    {
        var reading = reader.ReadAsync(CancellationToken.None);
        if (Outgoing is null || reading.IsCompleted)
        {
            return await reading;
        }

        try
        {
            await Outgoing.FlushAsync(cancellationToken);
        }
        catch
        {
            CallOff();
            reader.AdvanceTo((await reading).Buffer.Start);
            throw;
        }

        return await reading;
    }

    private void CallOff()
    {
        Interlocked.MemoryBarrier();
        if (_isWaiting)
        {
            try
            {
                reader.CancelPendingRead();
            }
            catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
            {
                // The sender has gone: the server ends the read by itself.
            }
        }
    }

    /// <inheritdoc/>
    public override bool CanRead => true;
}
