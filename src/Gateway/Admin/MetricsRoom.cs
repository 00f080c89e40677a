using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Admin;

/// <summary><c>/metrics</c> on the admin listener, in Prometheus' formats.</summary>
internal static class MetricsRoom
{
    public static void MapMetrics(this IApplicationBuilder app)
    {
        if (app.ApplicationServices.GetRequiredService<IOptions<TelemetryOptions>>().Value.Prometheus)
        {
            app.UseOpenTelemetryPrometheusScrapingEndpoint(static context =>
                context.Request.Path.Value == "/metrics" && HttpMethods.IsGet(context.Request.Method));
        }
    }
}
