using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>A line of the access log (docs/monitoring.md).</summary>
internal readonly record struct AccessLine(
    DateTimeOffset Time, string ClientAddress, string Method, string Device, string Path, string Protocol, int Status, long? ContentLength, double DurationMs,
    string Failure, string UserAgent, string TraceId);

/// <summary>
/// Writes the access log to standard output, many lines at a time: a console logger writes, and wakes a thread, for each. A
/// request never waits for it; what nobody reads is dropped beyond <see cref="Capacity"/> lines, and the log says how many.
/// </summary>
internal sealed partial class AccessLogWriter : BackgroundService
{
    private const int Capacity = 16_384;
    private const int BatchBytes = 32 * 1024;

    private readonly Channel<AccessLine> _lines;
    private readonly bool _json;
    private readonly ILogger<AccessLogWriter> _logger;
    private readonly ArrayBufferWriter<byte> _buffer = new(BatchBytes + 4096);
    private long _dropped;

    public AccessLogWriter(IOptions<TelemetryOptions> options, ILogger<AccessLogWriter> logger)
    {
        (_json, _logger) = (options.Value.Logs.Format == LogFormat.Json, logger);
        _lines = Channel.CreateBounded<AccessLine>(
            new BoundedChannelOptions(Capacity) { FullMode = BoundedChannelFullMode.DropWrite, SingleReader = true },
            _ => Interlocked.Increment(ref _dropped));
    }

    /// <summary>Takes a line, to be written soon.</summary>
    public void Add(in AccessLine line) => _lines.Writer.TryWrite(line);

    public override Task StopAsync(CancellationToken cancellationToken)
    {
        // What was taken is still written.
        _lines.Writer.TryComplete();
        return ExecuteTask ?? Task.CompletedTask;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var output = Console.OpenStandardOutput();
        using var json = new Utf8JsonWriter(_buffer, new JsonWriterOptions { SkipValidation = true });
        while (await _lines.Reader.WaitToReadAsync(CancellationToken.None))
        {
            while (_buffer.WrittenCount < BatchBytes && _lines.Reader.TryRead(out var line))
            {
                Append(json, line);
            }

            var more = _buffer.WrittenCount >= BatchBytes;
            Write(output);
            if (Interlocked.Exchange(ref _dropped, 0) is > 0 and var dropped)
            {
                LogDropped(_logger, dropped);
            }

            if (!more)
            {
                // Under load the next lines gather meanwhile.
                await Task.Delay(5, CancellationToken.None);
            }
        }
    }

    private void Append(Utf8JsonWriter json, in AccessLine line)
    {
        if (_json)
        {
            json.Reset();
            json.WriteStartObject();
            json.WriteString("Timestamp", line.Time.UtcDateTime);
            json.WriteString("LogLevel", "Information");
            json.WriteString("Category", AccessLog.Category);
            json.WriteStartObject("State");
            json.WriteString("ClientAddress", line.ClientAddress);
            json.WriteString("Method", line.Method);
            json.WriteString("Device", line.Device);
            json.WriteString("Path", line.Path);
            json.WriteString("Protocol", line.Protocol);
            json.WriteNumber("Status", line.Status);
            if (line.ContentLength is { } length)
            {
                json.WriteNumber("ContentLength", length);
            }
            else
            {
                json.WriteNull("ContentLength");
            }

            json.WriteNumber("DurationMs", line.DurationMs);
            json.WriteString("Failure", line.Failure);
            json.WriteString("UserAgent", line.UserAgent);
            json.WriteString("TraceId", line.TraceId);
            json.WriteEndObject();
            json.WriteEndObject();
            json.Flush();
        }
        else
        {
            // No control character gets here: the listeners refuse them in targets and values.
            Encoding.UTF8.GetBytes(
                string.Create(CultureInfo.InvariantCulture,
                    $"{line.Time.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss.fff'Z'} {line.ClientAddress} {line.Method} {line.Device} {line.Path} {line.Protocol} {line.Status} {(line.ContentLength?.ToString(CultureInfo.InvariantCulture) ?? "-")} {line.DurationMs} ms {line.Failure} \"{line.UserAgent}\" {line.TraceId}"),
                _buffer);
        }

        _buffer.Write("\n"u8);
    }

    // The console logger writes through the same object and holds its lock meanwhile: lines stay whole.
    private void Write(Stream output)
    {
        lock (Console.Out)
        {
            output.Write(_buffer.WrittenSpan);
        }

        _buffer.ResetWrittenCount();
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Count} lines of the access log were dropped: standard output is not read fast enough")]
    private static partial void LogDropped(ILogger logger, long count);
}
