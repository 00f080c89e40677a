using System.Buffers;
using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Unicode;
using Tunnel.Protocol;

namespace Gateway.Edge;

/// <summary>A line of the access log; docs/monitoring.md explains its fields.</summary>
internal readonly record struct AccessLine
{
    public required DateTimeOffset Time { get; init; }

    /// <summary>Null when it is not to be shown.</summary>
    public required IPAddress? ClientAddress { get; init; }

    public required string Method { get; init; }

    public required DeviceUuid? Device { get; init; }

    public required string Path { get; init; }

    public required string Protocol { get; init; }

    public required int Status { get; init; }

    public required long? ContentLength { get; init; }

    public required double DurationMs { get; init; }

    public required string Failure { get; init; }

    public required string UserAgent { get; init; }

    public required string TraceId { get; init; }
}

/// <summary>Writes lines as bytes, for one thread at a time. What it returns is good until the next line.</summary>
internal sealed class AccessLineFormatter(bool json)
{
    // 12 fields, and what stands between them, without the texts that visitors choose.
    private const int FixedPart = 512;

    private static readonly JsonEncodedText Timestamp = JsonEncodedText.Encode("Timestamp");
    private static readonly JsonEncodedText Level = JsonEncodedText.Encode("LogLevel");
    private static readonly JsonEncodedText Information = JsonEncodedText.Encode("Information");
    private static readonly JsonEncodedText Category = JsonEncodedText.Encode("Category");
    private static readonly JsonEncodedText CategoryName = JsonEncodedText.Encode(AccessLog.Category);
    private static readonly JsonEncodedText State = JsonEncodedText.Encode("State");
    private static readonly JsonEncodedText ClientAddress = JsonEncodedText.Encode("ClientAddress");
    private static readonly JsonEncodedText Method = JsonEncodedText.Encode("Method");
    private static readonly JsonEncodedText Device = JsonEncodedText.Encode("Device");
    private static readonly JsonEncodedText Path = JsonEncodedText.Encode("Path");
    private static readonly JsonEncodedText Protocol = JsonEncodedText.Encode("Protocol");
    private static readonly JsonEncodedText Status = JsonEncodedText.Encode("Status");
    private static readonly JsonEncodedText ContentLength = JsonEncodedText.Encode("ContentLength");
    private static readonly JsonEncodedText DurationMs = JsonEncodedText.Encode("DurationMs");
    private static readonly JsonEncodedText Failure = JsonEncodedText.Encode("Failure");
    private static readonly JsonEncodedText UserAgent = JsonEncodedText.Encode("UserAgent");
    private static readonly JsonEncodedText TraceId = JsonEncodedText.Encode("TraceId");

    private readonly ArrayBufferWriter<byte> _buffer = new(2 * FixedPart);
    private Utf8JsonWriter? _json;

    public ReadOnlySpan<byte> Format(in AccessLine line)
    {
        _buffer.ResetWrittenCount();
        if (json)
        {
            WriteJson(_json ??= new Utf8JsonWriter(_buffer, new JsonWriterOptions { SkipValidation = true }), line);
        }
        else
        {
            WriteText(line);
        }

        _buffer.Write("\n"u8);
        return _buffer.WrittenSpan;
    }

    private static void WriteJson(Utf8JsonWriter json, in AccessLine line)
    {
        json.Reset();
        json.WriteStartObject();
        json.WriteString(Timestamp, line.Time.UtcDateTime);
        json.WriteString(Level, Information);
        json.WriteString(Category, CategoryName);
        json.WriteStartObject(State);
        Span<byte> address = stackalloc byte[64];
        var length = 0;
        json.WriteString(ClientAddress, line.ClientAddress?.TryFormat(address, out length) == true ? address[..length] : "-"u8);
        json.WriteString(Method, line.Method);
        json.WriteString(Device, line.Device is { } uuid ? uuid.ToString() : "-");
        json.WriteString(Path, line.Path);
        json.WriteString(Protocol, line.Protocol);
        json.WriteNumber(Status, line.Status);
        if (line.ContentLength is { } contentLength)
        {
            json.WriteNumber(ContentLength, contentLength);
        }
        else
        {
            json.WriteNull(ContentLength);
        }

        json.WriteNumber(DurationMs, line.DurationMs);
        json.WriteString(Failure, line.Failure);
        json.WriteString(UserAgent, line.UserAgent);
        json.WriteString(TraceId, line.TraceId);
        json.WriteEndObject();
        json.WriteEndObject();
        json.Flush();
    }

    // No control character gets here: the listeners refuse them in targets and values.
    private void WriteText(in AccessLine line)
    {
        var span = _buffer.GetSpan(FixedPart + 3 * (line.Method.Length + line.Path.Length + line.UserAgent.Length));
        var fits = Utf8.TryWrite(
            span, CultureInfo.InvariantCulture,
            $"{line.Time.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss.fff'Z'} {Or(line.ClientAddress)} {line.Method} {(line.Device is { } uuid ? uuid.ToString() : "-")} {line.Path} {line.Protocol} {line.Status} {Or(line.ContentLength)} {line.DurationMs} ms {line.Failure} \"{line.UserAgent}\" {line.TraceId}",
            out var written);
        _buffer.Advance(fits ? written : 0);
    }

    private static object Or(object? value) => value ?? "-";
}
