namespace Tunnel.Protocol.DeviceSide;

/// <summary>
/// The dialled connection as Kestrel expects a transport to behave: what is written when the connection has ended goes
/// nowhere and is no fault, and a read then finds the end. Kestrel learns of an end by reading.
/// </summary>
internal sealed class DeviceTunnelStream(Stream inner) : Stream
{
    private int _isEnded;

    private bool HasEnded => Volatile.Read(ref _isEnded) != 0;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            return HasEnded ? 0 : await inner.ReadAsync(buffer, cancellationToken);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            End();
            return 0;
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        try
        {
            if (!HasEnded)
            {
                await inner.WriteAsync(buffer, cancellationToken);
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or InvalidOperationException)
        {
            End();
        }
    }

    public override async Task FlushAsync(CancellationToken cancellationToken)
    {
        try
        {
            if (!HasEnded)
            {
                await inner.FlushAsync(cancellationToken);
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or InvalidOperationException)
        {
            End();
        }
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            End();
        }

        base.Dispose(disposing);
    }

    // Kestrel may abort a connection whose end is being read at that moment, and not every stream can be disposed of by two at once.
    private void End()
    {
        if (Interlocked.Exchange(ref _isEnded, 1) == 0)
        {
            inner.Dispose();
        }
    }

    public override bool CanRead => true;
    public override bool CanWrite => true;
    public override bool CanSeek => false;
    public override long Length => throw new NotSupportedException();
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
    public override void Flush() => throw new NotSupportedException("A tunnel is written asynchronously.");
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("A tunnel is read asynchronously.");
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException("A tunnel is written asynchronously.");
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
    public override void SetLength(long value) => throw new NotSupportedException();
    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
}
