using System.Diagnostics;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>One line for each request of a visitor, when it has ended (<c>Telemetry:AccessLog</c>); docs/monitoring.md explains its fields.</summary>
internal sealed partial class AccessLog : IDisposable
{
    /// <summary>The log category.</summary>
    public const string Category = "Gateway.AccessLog";

    private readonly ILogger _logger;
    private readonly VisitorAddresses _addresses;
    private readonly IDisposable? _subscription;
    private volatile bool _enabled;

    public AccessLog(ILoggerFactory loggers, VisitorAddresses addresses, IOptionsMonitor<TelemetryOptions> options)
    {
        _logger = loggers.CreateLogger(Category);
        _addresses = addresses;
        _enabled = options.CurrentValue.AccessLog.Enabled;
        _subscription = options.OnChange(changed => _enabled = changed.AccessLog.Enabled);
    }

    /// <summary>Whether anybody wants the lines now.</summary>
    public bool IsOn => _enabled && _logger.IsEnabled(LogLevel.Information);

    public void Write(HttpContext context, VisitObserver.Visit visit, Activity? span)
    {
        var request = context.Request;
        var address = _addresses.Of(context);
        var device = visit.Device is { } uuid ? uuid.ToString() : "-";
        var agent = request.Headers.UserAgent.ToString();
        var trace = span is null ? "-" : span.TraceId.ToHexString();
        var duration = Math.Round(visit.Duration.TotalMilliseconds, 2);
        LogVisit(
            _logger,
            address.Length > 0 ? address : "-",
            request.Method,
            device,
            request.Path.Value ?? "",
            request.Protocol,
            visit.Status,
            context.Response.ContentLength,
            duration,
            visit.Failure ?? "-",
            agent,
            trace);
    }

    public void Dispose() => _subscription?.Dispose();

    // The query is not logged: it is where tokens are found.
    [LoggerMessage(Level = LogLevel.Information, EventName = "Request", SkipEnabledCheck = true,
        Message = "{ClientAddress} {Method} {Device} {Path} {Protocol} {Status} {ContentLength} {DurationMs} ms {Failure} \"{UserAgent}\" {TraceId}")]
    private static partial void LogVisit(
        ILogger logger, string clientAddress, string method, string device, string path, string protocol, int status, long? contentLength,
        double durationMs, string failure, string userAgent, string traceId);
}
