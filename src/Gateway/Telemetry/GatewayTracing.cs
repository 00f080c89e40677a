using System.Diagnostics;

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
