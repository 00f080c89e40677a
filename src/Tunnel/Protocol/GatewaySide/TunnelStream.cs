using System.Net.Sockets;

namespace Tunnel.Protocol.GatewaySide;

/// <summary>
/// The byte stream of an accepted tunnel, as the gateway's HTTP/2 client sees it.
/// </summary>
/// <remarks>
/// <para>
/// Until the first visitor comes nobody speaks HTTP/2 on it, yet the end of the connection must be noticed. So a
/// zero-byte read is parked on the inner stream, which pins no buffer. What the device sends of its own accord
/// before the client's preface (a SETTINGS frame, RFC 9113 section 3.4) is kept and handed to the client first;
/// anything else, or more than <see cref="EarlyBytesLimit"/> of it, is no HTTP/2 and ends the tunnel.
/// </para>
/// <para>Every end, whoever notices it first, completes <see cref="Closed"/> once.</para>
/// </remarks>
internal sealed class TunnelStream : Stream
{
    /// <summary>The most bytes that a device may send before the gateway's connection preface.</summary>
    internal const int EarlyBytesLimit = 1024;

    /// <summary>More in one read than frames have that carry no body.</summary>
    private const int BulkBytes = 4096;

    /// <summary>So few in one read are no rest of a body: a ping, a small response.</summary>
    private const int QuietBytes = 256;

    private readonly Stream _inner;
    private readonly TunnelTraffic? _traffic;
    private readonly Action<Stream>? _afterBulk;
    private readonly Socket? _socket;
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _isEnding;
    private long _sent;
    private long _received;
    private volatile bool _handedOver;
    private bool _hasReadBulk;
    private FrameWatch? _frames;
    private Task? _parked;
    private byte[]? _early;
    private int _earlyStart;
    private int _earlyEnd;

    /// <param name="inner">The connection to the device.</param>
    /// <param name="traffic">Counts the bytes, if given.</param>
    /// <param name="afterBulk">Told, while nobody reads, that a body has come and no more of it does.</param>
    /// <param name="socket">Under <paramref name="inner"/>, if given: what waits there waits for less.</param>
    public TunnelStream(Stream inner, TunnelTraffic? traffic = null, Action<Stream>? afterBulk = null, Socket? socket = null)
    {
        (_inner, _traffic, _afterBulk, _socket) = (inner, traffic, afterBulk, socket);
        _parked = ParkAsync();
    }

    /// <summary>Completes when no further byte can arrive or leave.</summary>
    public Task Closed => _closed.Task;

    /// <summary>Whether the device has sent its last byte.</summary>
    public bool HasEnded { get; private set; }

    /// <summary>Whether the tunnel was ended because the device floods it with frames.</summary>
    public bool IsFlooded { get; private set; }

    // Nobody speaks HTTP/2 on most tunnels.
    private FrameWatch Frames => Volatile.Read(ref _frames) ?? LazyInitializer.EnsureInitialized(ref _frames);

    /// <summary>The bytes that have crossed since the last call.</summary>
    public (long Sent, long Received) TakeTraffic() => (Interlocked.Exchange(ref _sent, 0), Interlocked.Exchange(ref _received, 0));

    /// <summary>Ends the parked reading at its next byte, so that the client reads by itself.</summary>
    public void HandOver() => _handedOver = true;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (_parked is { } parked)
        {
            await parked.WaitAsync(cancellationToken);
            _parked = null;
        }

        if (_earlyEnd > _earlyStart)
        {
            return Watched(buffer.Span[..TakeEarly(buffer.Span)]);
        }

        try
        {
            var count = await _inner.ReadAsync(buffer, cancellationToken);
            _traffic?.AddReceived(count);
            Interlocked.Add(ref _received, count);
            if (count == 0 && buffer.Length > 0)
            {
                HasEnded = true;
                _closed.TrySetResult();
            }

            FollowBulk(count);
            return Watched(buffer.Span[..count]);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            _closed.TrySetResult();
            throw;
        }
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _traffic?.AddSent(buffer.Length);
        Interlocked.Add(ref _sent, buffer.Length);
        Frames.Send(buffer.Span);
        return _inner.WriteAsync(buffer, cancellationToken);
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => _inner.FlushAsync(cancellationToken);

    protected override void Dispose(bool disposing)
    {
        // The client lets go of its connection so; not every stream can end without waiting.
        if (disposing)
        {
            _ = EndAsync();
        }

        base.Dispose(disposing);
    }

    public override async ValueTask DisposeAsync()
    {
        await EndAsync();
        await base.DisposeAsync();
    }

    private async Task EndAsync()
    {
        _closed.TrySetResult();
        if (Interlocked.Exchange(ref _isEnding, 1) == 1)
        {
            return;
        }

        try
        {
            await _inner.DisposeAsync();
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // It was broken already.
        }
    }

    private void FollowBulk(int count)
    {
        if (count > BulkBytes)
        {
            _hasReadBulk = true;
        }
        else if (_hasReadBulk && count is > 0 and <= QuietBytes)
        {
            _hasReadBulk = false;
            _afterBulk?.Invoke(_inner);
        }
    }

    private int Watched(ReadOnlySpan<byte> received)
    {
        if (!Frames.Receive(received))
        {
            IsFlooded = true;
            _closed.TrySetResult();
            throw new IOException("The device floods its tunnel with frames.");
        }

        return received.Length;
    }

    private async Task ParkAsync()
    {
        // The constructor must return before the first byte is looked at.
        await Task.Yield();
        try
        {
            while (!_handedOver)
            {
                // Waits for a byte, or for the end, without a buffer.
                if (_socket is not null)
                {
                    _ = await _socket.ReceiveAsync(Memory<byte>.Empty, SocketFlags.None);
                }

                _ = await _inner.ReadAsync(Memory<byte>.Empty);
                _early ??= new byte[EarlyBytesLimit];
                var count = _earlyEnd == _early.Length ? 0 : await _inner.ReadAsync(_early.AsMemory(_earlyEnd));
                _earlyEnd += count;
                _traffic?.AddReceived(count);
                if (count == 0 || !BeginsWithSettings(_early.AsSpan(0, _earlyEnd)))
                {
                    HasEnded = count == 0 && _earlyEnd < _early.Length;
                    _closed.TrySetResult();
                    return;
                }
            }
        }
        catch (Exception exception) when (exception is IOException or SocketException or OperationCanceledException or ObjectDisposedException or InvalidOperationException)
        {
            _closed.TrySetResult();
        }
    }

    // The frame's type and flags, and stream 0 (RFC 9113 sections 4.1 and 6.5), as far as they have arrived.
    private static bool BeginsWithSettings(ReadOnlySpan<byte> early)
    {
        ReadOnlySpan<byte> expected = [0x4, 0x0, 0x0, 0x0, 0x0, 0x0];
        early = early.Length > 3 ? early[3..] : [];
        var length = Math.Min(early.Length, expected.Length);
        return early[..length].SequenceEqual(expected[..length]);
    }

    private int TakeEarly(Span<byte> buffer)
    {
        var count = Math.Min(buffer.Length, _earlyEnd - _earlyStart);
        _early.AsSpan(_earlyStart, count).CopyTo(buffer);
        _earlyStart += count;
        if (_earlyStart == _earlyEnd)
        {
            _early = null;
            _earlyStart = _earlyEnd = 0;
        }

        return count;
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
    public override bool CanSeek => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() => _inner.Flush();
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("A tunnel is read asynchronously.");
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("A tunnel is written asynchronously.");
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
}
