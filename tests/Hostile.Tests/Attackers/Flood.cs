using System.Diagnostics;

namespace Gateway.Tests.Attackers;

/// <summary>An attacker's connection: writes without mercy until it is cut off, or its time is up.</summary>
internal sealed class Flood(Stream stream) : IAsyncDisposable
{
    private readonly long _started = Stopwatch.GetTimestamp();
    private Task? _reading;

    public long BytesSent { get; private set; }

    /// <summary>When the other side ended the connection; null while it has not.</summary>
    public TimeSpan? CutOffAfter { get; private set; }

    public Stream Stream => stream;

    /// <summary>Takes what comes, so that the other side can always write.</summary>
    public Flood Reading()
    {
        _reading = ReadToEndAsync();
        return this;
    }

    /// <summary>Writes; false when there is nobody any more.</summary>
    public async Task<bool> SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken time)
    {
        if (CutOffAfter is not null || time.IsCancellationRequested)
        {
            return false;
        }

        try
        {
            await stream.WriteAsync(bytes, time);
            BytesSent += bytes.Length;
            return true;
        }
        catch (OperationCanceledException)
        {
            return false;
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or InvalidOperationException)
        {
            CutOff();
            return false;
        }
    }

    /// <summary>Writes the same again and again.</summary>
    public async Task SendAsync(Func<int, byte[]> next, CancellationToken time)
    {
        for (var i = 0; await SendAsync(next(i), time); i++)
        {
        }
    }

    /// <summary>Waits for the end of its time, or of the connection.</summary>
    public Task StayAsync(CancellationToken time) => Task.WhenAny(_reading ?? Task.Delay(Timeout.Infinite, time), Task.Delay(Timeout.Infinite, time));

    public async ValueTask DisposeAsync()
    {
        await stream.DisposeAsync();
        if (_reading is not null)
        {
            await _reading;
        }
    }

    private async Task ReadToEndAsync()
    {
        var buffer = new byte[64 * 1024];
        try
        {
            while (await stream.ReadAsync(buffer) > 0)
            {
            }

            CutOff();
        }
        catch (IOException)
        {
            CutOff();
        }
        catch (ObjectDisposedException)
        {
            // It went by itself.
        }
    }

    private void CutOff() => CutOffAfter ??= Stopwatch.GetElapsedTime(_started);
}
