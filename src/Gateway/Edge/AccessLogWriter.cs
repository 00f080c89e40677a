using System.Buffers;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>
/// Writes the access log to standard output, many lines at a time: a console logger writes, and wakes a thread, for each. A
/// line becomes bytes where the request ends; they gather in a buffer, which this service writes while the next one fills. A
/// request never waits for it; what nobody reads is dropped beyond <see cref="Capacity"/>, and the log says how many.
/// </summary>
internal sealed partial class AccessLogWriter : BackgroundService
{
    /// <summary>Bytes, some 15,000 lines.</summary>
    private const int Capacity = 4 * 1024 * 1024;

    /// <summary>A buffer that a burst has made larger is not kept.</summary>
    private const int KeptBytes = 256 * 1024;

    private static readonly TimeSpan Gathering = TimeSpan.FromMilliseconds(5);

    private readonly ILogger<AccessLogWriter> _logger;
    private readonly ThreadLocal<AccessLineFormatter> _formatters;
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _arrived = new(0);
    private ArrayBufferWriter<byte> _filling = new(KeptBytes);
    private ArrayBufferWriter<byte> _writing = new(KeptBytes);
    private long _dropped;
    private volatile bool _stopping;

    public AccessLogWriter(IOptions<TelemetryOptions> options, ILogger<AccessLogWriter> logger)
    {
        var json = options.Value.Logs.Format == LogFormat.Json;
        (_logger, _formatters) = (logger, new ThreadLocal<AccessLineFormatter>(() => new AccessLineFormatter(json)));
    }

    /// <summary>Takes a line, to be written soon.</summary>
    public void Add(in AccessLine line)
    {
        var bytes = _formatters.Value!.Format(line);
        bool isFirst;
        lock (_gate)
        {
            if (_filling.WrittenCount + bytes.Length > Capacity)
            {
                _dropped++;
                return;
            }

            isFirst = _filling.WrittenCount == 0;
            _filling.Write(bytes);
        }

        if (isFirst)
        {
            _arrived.Release();
        }
    }

    public override Task StopAsync(CancellationToken cancellationToken)
    {
        // What was taken is still written.
        _stopping = true;
        _arrived.Release();
        return ExecuteTask ?? Task.CompletedTask;
    }

    public override void Dispose()
    {
        base.Dispose();
        _arrived.Dispose();
        _formatters.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var output = Console.OpenStandardOutput();
        while (true)
        {
            await _arrived.WaitAsync(CancellationToken.None);
            if (!_stopping)
            {
                // Under load the next lines gather meanwhile.
                await Task.Delay(Gathering, CancellationToken.None);
            }

            var dropped = Swap();
            Write(output);
            if (dropped > 0)
            {
                LogDropped(_logger, dropped);
            }

            if (_stopping && IsEmpty())
            {
                return;
            }
        }
    }

    private bool IsEmpty()
    {
        lock (_gate)
        {
            return _filling.WrittenCount == 0;
        }
    }

    // Returns how many lines found no room.
    private long Swap()
    {
        lock (_gate)
        {
            (_filling, _writing) = (_writing, _filling);
            return Interlocked.Exchange(ref _dropped, 0);
        }
    }

    // The console logger writes through the same object and holds its lock meanwhile: lines stay whole.
    private void Write(Stream output)
    {
        lock (Console.Out)
        {
            output.Write(_writing.WrittenSpan);
        }

        _writing.ResetWrittenCount();
        if (_writing.Capacity > KeptBytes)
        {
            _writing = new ArrayBufferWriter<byte>(KeptBytes);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Count} lines of the access log were dropped: standard output is not read fast enough")]
    private static partial void LogDropped(ILogger logger, long count);
}
