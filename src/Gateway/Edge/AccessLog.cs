using System.Diagnostics;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>One line for each request of a visitor, when it has ended (<c>Telemetry:AccessLog</c>); docs/monitoring.md explains its fields.</summary>
internal sealed partial class AccessLog : IDisposable
{
    /// <summary>The log category; the console logger leaves it to <see cref="AccessLogWriter"/>, others (OTLP) get it.</summary>
    public const string Category = "Gateway.AccessLog";

    private readonly ILogger _logger;
    private readonly AccessLogWriter _writer;
    private readonly VisitorAddresses _addresses;
    private readonly TimeProvider _time;
    private readonly IDisposable? _subscription;
    private volatile bool _enabled;

    public AccessLog(ILoggerFactory loggers, AccessLogWriter writer, VisitorAddresses addresses, TimeProvider time, IOptionsMonitor<TelemetryOptions> options)
    {
        _logger = loggers.CreateLogger(Category);
        (_writer, _addresses, _time) = (writer, addresses, time);
        _enabled = options.CurrentValue.AccessLog.Enabled;
        _subscription = options.OnChange(changed => _enabled = changed.AccessLog.Enabled);
    }

    /// <summary>Whether anybody wants the lines now.</summary>
    public bool IsOn => _enabled;

    public void Write(HttpContext context, VisitObserver.Visit visit, Activity? span)
    {
        var request = context.Request;
        var line = new AccessLine
        {
            Time = _time.GetUtcNow(),
            ClientAddress = _addresses.Of(context),
            Method = request.Method,
            Device = visit.Device,
            Path = request.Path.Value ?? "",
            Protocol = request.Protocol,
            Status = visit.Status,
            ContentLength = context.Response.ContentLength,
            DurationMs = Math.Round(visit.Duration.TotalMilliseconds, 2),
            Failure = visit.Failure ?? "-",
            UserAgent = request.Headers.UserAgent.ToString(),
            TraceId = span is null ? "-" : span.TraceId.ToHexString(),
        };
        _writer.Add(line);
        if (_logger.IsEnabled(LogLevel.Information))
        {
            var (address, device) = (line.ClientAddress?.ToString() ?? "-", line.Device?.ToString() ?? "-");
            LogVisit(_logger, address, line.Method, device, line.Path, line.Protocol, line.Status, line.ContentLength, line.DurationMs, line.Failure, line.UserAgent, line.TraceId);
        }
    }

    public void Dispose() => _subscription?.Dispose();

    // The query is not logged: it is where tokens are found.
    [LoggerMessage(Level = LogLevel.Information, EventName = "Request", SkipEnabledCheck = true,
        Message = "{ClientAddress} {Method} {Device} {Path} {Protocol} {Status} {ContentLength} {DurationMs} ms {Failure} \"{UserAgent}\" {TraceId}")]
    private static partial void LogVisit(
        ILogger logger, string clientAddress, string method, string device, string path, string protocol, int status, long? contentLength,
        double durationMs, string failure, string userAgent, string traceId);
}
