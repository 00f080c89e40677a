using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Logs;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Gateway.Telemetry;

internal static class TelemetryRoom
{
    /// <summary>What every part needs that counts or looks at the clock.</summary>
    public static void AddMeasures(this WebApplicationBuilder builder)
    {
        builder.Services.AddMetrics();
        builder.Services.AddSingleton<GatewayMetrics>();
        builder.Services.TryAddSingleton(TimeProvider.System);
    }

    public static void AddTelemetry(this WebApplicationBuilder builder)
    {
        builder.AddMeasures();
        var services = builder.Services;
        services.AddOptions<TelemetryOptions>().BindConfiguration(TelemetryOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<TelemetryOptions>, TelemetryOptions.Validator>();

        services.AddSingleton<TraceChoice>();

        // What is composed depends on it; a value that is wrong is said when the gateway starts.
        var options = builder.Configuration.GetSection(TelemetryOptions.Section).Get<TelemetryOptions>() ?? new TelemetryOptions();
        AddLogs(builder.Logging, options, builder.Configuration.GetSection("Logging"));
        var hasReceiver = Uri.TryCreate(options.Otlp.Endpoint, UriKind.Absolute, out _);
        if (hasReceiver || options.Prometheus)
        {
            var node = builder.Configuration["Cluster:Node"] is { Length: > 0 } name ? name : Environment.MachineName;
            var telemetry = services.AddOpenTelemetry().ConfigureResource(resource => Describe(resource, node));
            telemetry.WithMetrics(metrics => AddMetrics(metrics, options, hasReceiver));
            if (hasReceiver && options.Traces.Ratio > 0)
            {
                telemetry.WithTracing(traces => AddTraces(traces, options.Otlp));
            }

            if (hasReceiver && options.Logs.Otlp)
            {
                telemetry.WithLogging(logs => logs.AddOtlpExporter(otlp => Configure(otlp, options.Otlp, "logs")), static logs => logs.IncludeFormattedMessage = true);
            }
        }
    }

    /// <summary>Attributes of the process; <c>OTEL_RESOURCE_ATTRIBUTES</c> and <c>OTEL_SERVICE_NAME</c> win.</summary>
    private static void Describe(ResourceBuilder resource, string node) => resource
        .AddService("gateway", serviceVersion: typeof(TelemetryRoom).Assembly.GetName().Version?.ToString(3), serviceInstanceId: node)
        .AddEnvironmentVariableDetector();

    private static void AddMetrics(MeterProviderBuilder metrics, TelemetryOptions options, bool hasReceiver)
    {
        metrics
            .AddMeter([GatewayMetrics.MeterName, .. MetricViews.Meters])
            .AddView(MetricViews.Choose)
            .SetExemplarFilter(hasReceiver && options.Traces.Ratio > 0 ? ExemplarFilterType.TraceBased : ExemplarFilterType.AlwaysOff);
        if (options.Prometheus)
        {
            metrics.AddPrometheusExporter();
        }

        if (hasReceiver)
        {
            metrics.AddOtlpExporter((otlp, reader) =>
            {
                Configure(otlp, options.Otlp, "metrics");
                reader.PeriodicExportingMetricReaderOptions.ExportIntervalMilliseconds = (int)options.Otlp.MetricsInterval.TotalMilliseconds;
            });
        }
    }

    private static void AddTraces(TracerProviderBuilder traces, TelemetryOptions.OtlpOptions receiver)
    {
        // What is not to be recorded does not get as far as a span (TraceChoice).
        traces
            .AddSource(GatewayTracing.SourceName)
            .SetSampler(new AlwaysOnSampler())
            .AddOtlpExporter(otlp => Configure(otlp, receiver, "traces"));
    }

    private static void Configure(OtlpExporterOptions exporter, TelemetryOptions.OtlpOptions options, string signal)
    {
        exporter.Protocol = options.Protocol == OtlpProtocol.Grpc ? OtlpExportProtocol.Grpc : OtlpExportProtocol.HttpProtobuf;

        // Over HTTP each signal has a path of its own below the receiver's address (OTLP specification, "OTLP/HTTP Request").
        exporter.Endpoint = options.Protocol == OtlpProtocol.Grpc
            ? new Uri(options.Endpoint)
            : new Uri($"{options.Endpoint.TrimEnd('/')}/v1/{signal}");
        if (options.Headers.Length > 0)
        {
            exporter.Headers = options.Headers;
        }
    }

    private static void AddLogs(ILoggingBuilder logging, TelemetryOptions options, IConfigurationSection configuration)
    {
        if (options.Logs.Format == LogFormat.Json)
        {
            logging.AddJsonConsole(static console =>
            {
                console.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z'";
                console.UseUtcTimestamp = true;
            });
        }
        else
        {
            logging.AddSimpleConsole(static console =>
            {
                console.SingleLine = true;
                console.TimestampFormat = "yyyy-MM-dd'T'HH:mm:ss.fff'Z' ";
                console.UseUtcTimestamp = true;
                console.ColorBehavior = LoggerColorBehavior.Disabled;
            });
        }

        logging.AddFilter("Microsoft", LogLevel.Warning);
        logging.AddFilter("Microsoft.AspNetCore.Server.Kestrel", LogLevel.Error);
        logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None); // what ends the gateway is said by its command line
        logging.AddFilter("Microsoft.Extensions.Diagnostics.HealthChecks", LogLevel.None); // who asks gets the reasons
        logging.AddFilter("Microsoft.AspNetCore.Hosting.Diagnostics", LogLevel.None); // or it makes an Activity of every request
        logging.AddFilter("Microsoft.AspNetCore.DataProtection", LogLevel.Error); // its keys are guarded as Redis is
        logging.AddFilter("Yarp", LogLevel.None);
        logging.AddFilter("Garnet", LogLevel.Error);

        // Of rules that are alike the last counts: the operator's.
        logging.AddConfiguration(configuration);
    }
}
