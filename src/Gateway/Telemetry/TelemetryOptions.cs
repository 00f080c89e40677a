using Microsoft.Extensions.Options;

namespace Gateway.Telemetry;

/// <summary>What operators see of this node, and where it goes.</summary>
internal sealed class TelemetryOptions
{
    public const string Section = "Telemetry";

    /// <summary>Whether the admin listener answers <c>/metrics</c> for Prometheus. Default true.</summary>
    public bool Prometheus { get; set; } = true;

    /// <summary>Where metrics, traces and logs are sent to.</summary>
    public OtlpOptions Otlp { get; set; } = new();

    /// <summary>Which requests are traced.</summary>
    public TraceOptions Traces { get; set; } = new();

    /// <summary>A line for each request of a visitor.</summary>
    public AccessLogOptions AccessLog { get; set; } = new();

    /// <summary>How log messages leave the process.</summary>
    public LogOptions Logs { get; set; } = new();

    /// <summary>The receiver, an OpenTelemetry Collector for example.</summary>
    internal sealed class OtlpOptions
    {
        /// <summary>The receiver's address, e.g. <c>http://collector:4318</c>. Default empty: nothing is sent.</summary>
        public string Endpoint { get; set; } = "";

        /// <summary>What the receiver speaks. Default HttpProtobuf (port 4318 as a rule); or Grpc (4317).</summary>
        public OtlpProtocol Protocol { get; set; } = OtlpProtocol.HttpProtobuf;

        /// <summary>Fields sent with every export, <c>name=value,name=value</c>; may hold secrets. Default empty.</summary>
        public string Headers { get; set; } = "";

        /// <summary>How often metrics are sent. Default 30 s, 1 s to 1 h.</summary>
        public TimeSpan MetricsInterval { get; set; } = TimeSpan.FromSeconds(30);
    }

    /// <summary>Traces need an <see cref="OtlpOptions.Endpoint"/>.</summary>
    internal sealed class TraceOptions
    {
        /// <summary>The share of requests that is traced, 0 to 1. Default 0.01. It is decided once, where the visitor comes in.</summary>
        public double Ratio { get; set; } = 0.01;

        /// <summary>
        /// Whether a <c>traceparent</c> that comes with a request decides instead of <see cref="Ratio"/>. Default false:
        /// anybody could have his requests recorded.
        /// </summary>
        public bool FollowVisitors { get; set; }
    }

    /// <summary>Can be changed while the gateway runs.</summary>
    internal sealed class AccessLogOptions
    {
        /// <summary>Whether each request is logged when it has ended. Default false.</summary>
        public bool Enabled { get; set; }

        /// <summary>What is logged of a visitor's address. Default Full.</summary>
        public AddressDetail Addresses { get; set; } = AddressDetail.Full;
    }

    internal sealed class LogOptions
    {
        /// <summary>How a message is written to standard output. Default Text.</summary>
        public LogFormat Format { get; set; } = LogFormat.Text;

        /// <summary>Whether messages are sent to the receiver too. Default false.</summary>
        public bool Otlp { get; set; }
    }

    internal sealed class Validator : IValidateOptions<TelemetryOptions>
    {
        public ValidateOptionsResult Validate(string? name, TelemetryOptions options)
        {
            var otlp = options.Otlp;
            if (otlp.Endpoint.Length > 0 && !(Uri.TryCreate(otlp.Endpoint, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"))
            {
                return ValidateOptionsResult.Fail($"{Section}:Otlp:Endpoint is \"{otlp.Endpoint}\": give the receiver's address, e.g. \"http://collector:4318\".");
            }

            if (!Enum.IsDefined(otlp.Protocol))
            {
                return ValidateOptionsResult.Fail($"{Section}:Otlp:Protocol is {otlp.Protocol}: give HttpProtobuf or Grpc.");
            }

            // The value may be a secret: it is not repeated.
            if (otlp.Headers.Length > 0 && Array.Exists(otlp.Headers.Split(','), static pair => pair.IndexOf('=', StringComparison.Ordinal) < 1))
            {
                return ValidateOptionsResult.Fail($"{Section}:Otlp:Headers is no list of name=value, separated by commas: give e.g. \"api-key=...\".");
            }

            if (otlp.MetricsInterval < TimeSpan.FromSeconds(1) || otlp.MetricsInterval > TimeSpan.FromHours(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:Otlp:MetricsInterval is {otlp.MetricsInterval}: give 00:00:01 to 01:00:00.");
            }

            if (options.Traces.Ratio is not (>= 0 and <= 1))
            {
                return ValidateOptionsResult.Fail($"{Section}:Traces:Ratio is {options.Traces.Ratio}: give 0 to 1, e.g. 0.01 for one request in a hundred.");
            }

            if (!Enum.IsDefined(options.AccessLog.Addresses))
            {
                return ValidateOptionsResult.Fail($"{Section}:AccessLog:Addresses is {options.AccessLog.Addresses}: give Full, Network or None.");
            }

            return options.Logs.Otlp && otlp.Endpoint.Length == 0
                ? ValidateOptionsResult.Fail($"{Section}:Logs:Otlp is true, and {Section}:Otlp:Endpoint is empty: give the receiver's address, or leave Logs:Otlp out.")
                : ValidateOptionsResult.Success;
        }
    }
}

/// <summary>The transports of OTLP.</summary>
internal enum OtlpProtocol
{
    HttpProtobuf,
    Grpc,
}

/// <summary>How log messages are written.</summary>
internal enum LogFormat
{
    /// <summary>A line for people.</summary>
    Text,

    /// <summary>A JSON object a line.</summary>
    Json,
}

/// <summary>How much of a visitor's address is written down.</summary>
internal enum AddressDetail
{
    /// <summary>All of it.</summary>
    Full,

    /// <summary>The network: the first 24 bits of IPv4, the first 48 of IPv6.</summary>
    Network,

    /// <summary>Nothing.</summary>
    None,
}
