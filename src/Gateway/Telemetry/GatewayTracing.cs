using System.Diagnostics;
using Microsoft.Extensions.Options;
using OpenTelemetry.Trace;

namespace Gateway.Telemetry;

/// <summary>The gateway's spans. While nobody traces, not one is made.</summary>
internal static class GatewayTracing
{
    public const string SourceName = "Gateway";

    /// <summary>The device that a span is about: an attribute of traces and logs, never of metrics.</summary>
    public const string DeviceUuid = "gateway.device.uuid";

    public static readonly ActivitySource Source = new(SourceName, typeof(GatewayTracing).Assembly.GetName().Version?.ToString(3));

    /// <summary>Notes a failure by its name (<c>error.type</c>, as the conventions have it).</summary>
    public static void Fail(this Activity activity, string reason)
    {
        activity.SetTag("error.type", reason);
        activity.SetStatus(ActivityStatusCode.Error);
    }
}

/// <summary>
/// Which requests are recorded (<see cref="TelemetryOptions.TraceOptions"/>). It is decided before there is a span: one that is not recorded
/// would cost as much as a line of the access log, and 99 of 100 are not.
/// </summary>
internal sealed class TraceChoice(IOptions<TelemetryOptions> options)
{
    private readonly TelemetryOptions.TraceOptions _options = options.Value.Traces;
    private readonly TraceIdRatioBasedSampler _byId = new(options.Value.Traces.Ratio);

    /// <summary>Whether a visitor's request is recorded.</summary>
    /// <param name="visitors">The trace that the visitor brings; the default value for none.</param>
    public bool Takes(in ActivityContext visitors) =>
        visitors == default ? Random.Shared.NextDouble() < _options.Ratio
        : _options.FollowVisitors ? visitors.TraceFlags.HasFlag(ActivityTraceFlags.Recorded)
        : _byId.ShouldSample(new SamplingParameters(default, visitors.TraceId, "", ActivityKind.Server)).Decision == SamplingDecision.RecordAndSample;
}
