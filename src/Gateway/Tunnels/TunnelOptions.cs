using System.Security.Cryptography;
using Microsoft.Extensions.Options;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tunnels;

/// <summary>How tunnels are accepted and kept.</summary>
internal sealed class TunnelOptions
{
    public const string Section = "Tunnels";

    /// <summary>
    /// A device that has vanished without a word is offline after this time: the kernel probes a silent tunnel three times
    /// in its second half. Shorter costs more bytes on idle tunnels: 30 s about 0.9 MB a day with the agent's own. Default 30 s, 6 s to 1 h.
    /// </summary>
    public TimeSpan DeadAfter { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>The most tunnels of one device on this node; beyond it the oldest is ended. Default 4.</summary>
    public int MaxPerDevice { get; set; } = 4;

    /// <summary>The longest delay of an answer to repeated wrong keys from one address. Default 5 s.</summary>
    public TimeSpan MaxFailureDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A PEM file of the authorities whose certificates devices may show in place of a key (mutual TLS). Default empty: none.
    /// </summary>
    public string ClientCaFile { get; set; } = "";

    /// <summary>
    /// A file of what these authorities have revoked (RFC 5280 section 5), PEM or DER. Both files are read again every second.
    /// Default empty: nothing is revoked.
    /// </summary>
    public string ClientCrlFile { get; set; } = "";

    /// <summary>How HTTP/2 is spoken through a tunnel.</summary>
    public TunnelClientOptions Http2 { get; set; } = new();

    internal sealed class Validator : IValidateOptions<TunnelOptions>
    {
        public ValidateOptionsResult Validate(string? name, TunnelOptions options)
        {
            if (options.DeadAfter < TimeSpan.FromSeconds(6) || options.DeadAfter > TimeSpan.FromHours(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:DeadAfter is {options.DeadAfter}: give 00:00:06 to 01:00:00.");
            }

            if (options.MaxPerDevice is < 1 or > 100)
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxPerDevice is {options.MaxPerDevice}: give 1 to 100.");
            }

            if (options.MaxFailureDelay < TimeSpan.Zero || options.MaxFailureDelay > TimeSpan.FromMinutes(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxFailureDelay is {options.MaxFailureDelay}: give 00:00:00 to 00:01:00.");
            }

            if (ExplainAuthorities(options) is { } wrong)
            {
                return ValidateOptionsResult.Fail(wrong);
            }

            var http2 = options.Http2;
            if (http2.PingDelay < TimeSpan.FromSeconds(1) || http2.PingTimeout < TimeSpan.FromSeconds(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:Http2:PingDelay and PingTimeout are {http2.PingDelay} and {http2.PingTimeout}: give at least 00:00:01 each.");
            }

            if (http2.MaxResponseHeadersKib is < 8 or > 1024)
            {
                return ValidateOptionsResult.Fail($"{Section}:Http2:MaxResponseHeadersKib is {http2.MaxResponseHeadersKib}: give 8 to 1024.");
            }

            return http2.StreamWindow is < 65_535 or > 16 * 1024 * 1024
                ? ValidateOptionsResult.Fail($"{Section}:Http2:StreamWindow is {http2.StreamWindow}: give 65535 to 16777216 bytes.")
                : ValidateOptionsResult.Success;
        }

        private static string? ExplainAuthorities(TunnelOptions options)
        {
            if (options.ClientCrlFile.Length > 0 && options.ClientCaFile.Length == 0)
            {
                return $"{Section}:ClientCrlFile is \"{options.ClientCrlFile}\", and {Section}:ClientCaFile is missing: give the authorities whose list it is, or remove it.";
            }

            try
            {
                DeviceAuthorities.Read(options);
                return null;
            }
            catch (CryptographicException exception)
            {
                return exception.Message;
            }
        }
    }
}
