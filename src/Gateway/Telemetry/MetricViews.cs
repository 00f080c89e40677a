using System.Diagnostics.Metrics;
using OpenTelemetry.Metrics;

namespace Gateway.Telemetry;

/// <summary>
/// Which of the platform's instruments are collected, and with which labels. What a visitor or a device can choose freely
/// (a host, an address, a status of three digits) is no label: it would be as many series as they like.
/// </summary>
internal static class MetricViews
{
    /// <summary>The platform's meters; DNS is not among them, for its label is the name that is asked for.</summary>
    public static readonly string[] Meters = ["Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel", "System.Net.Http", "System.Runtime"];

    /// <summary>How an instrument is collected; null: as it is.</summary>
    public static MetricStreamConfiguration? Choose(Instrument instrument) => instrument.Meter.Name switch
    {
        "Microsoft.AspNetCore.Hosting" => instrument.Name switch
        {
            // The edge keeps strange statuses out: 62 registered ones, 10 methods and 3 versions stay below the SDK's 2,000 sets.
            "http.server.request.duration" => Keep("http.request.method", "http.response.status_code", "network.protocol.version"),
            _ => MetricStreamConfiguration.Drop, // active requests would count tunnels, which last for weeks
        },
        "Microsoft.AspNetCore.Server.Kestrel" => Keep("server.port", "network.protocol.version", "tls.protocol.version", "error.type"),
        "System.Net.Http" => instrument.Name switch
        {
            "http.client.open_connections" => Keep("http.connection.state"),
            _ => MetricStreamConfiguration.Drop, // an error's type is the status that a device chose
        },
        _ => null,
    };

    private static MetricStreamConfiguration Keep(params string[] labels) => new() { TagKeys = labels };
}
