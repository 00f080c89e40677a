using Gateway.Listeners;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Admin;

/// <summary><c>/metrics</c> on the admin listener, in Prometheus' formats.</summary>
internal static class MetricsRoom
{
    public static void MapMetrics(this WebApplication app)
    {
        if (app.Services.GetRequiredService<IOptions<TelemetryOptions>>().Value.Prometheus)
        {
            app.UseOpenTelemetryPrometheusScrapingEndpoint(static context =>
                context.Request.Path.Value == "/metrics" && HttpMethods.IsGet(context.Request.Method) && context.GetAudience() == Audience.Admin);
        }
    }
}
