using System.Security.Authentication;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners.Tls;

/// <summary>The oldest version of TLS that is spoken.</summary>
internal enum TlsVersion
{
    /// <summary>RFC 5246, with forward secrecy and AEAD ciphers preferred.</summary>
    Tls12,

    /// <summary>RFC 8446.</summary>
    Tls13,
}

/// <summary>How TLS is spoken.</summary>
internal sealed class TlsOptions
{
    public const string Section = "Tls";

    /// <summary>Default <see cref="TlsVersion.Tls12"/>.</summary>
    public TlsVersion MinimumVersion { get; set; } = TlsVersion.Tls12;

    /// <summary>The longest time for a handshake. Default 10 s; with certificates at first use a first visitor may need more.</summary>
    public TimeSpan HandshakeTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Devices' handshakes that a node begins in a second; the others wait, so that visitors are served meanwhile. Default 0: 100 for
    /// each processor, a quarter to a third of its time.
    /// </summary>
    public int DeviceHandshakesPerSecond { get; set; }

    /// <summary>Devices' connections that may wait for their handshake; beyond it they are closed. Default 10,000.</summary>
    public int MaxWaitingHandshakes { get; set; } = 10_000;

    /// <summary>The versions, as the platform names them.</summary>
    internal SslProtocols Protocols => MinimumVersion == TlsVersion.Tls13 ? SslProtocols.Tls13 : SslProtocols.Tls12 | SslProtocols.Tls13;

    internal sealed class Validator : IValidateOptions<TlsOptions>
    {
        public ValidateOptionsResult Validate(string? name, TlsOptions options)
        {
            if (options.DeviceHandshakesPerSecond is < 0 or > 100_000)
            {
                return ValidateOptionsResult.Fail($"{Section}:DeviceHandshakesPerSecond is {options.DeviceHandshakesPerSecond}: give 0 to 100000.");
            }

            if (options.MaxWaitingHandshakes is < 0 or > 1_000_000)
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxWaitingHandshakes is {options.MaxWaitingHandshakes}: give 0 to 1000000.");
            }

            return options.HandshakeTimeout < TimeSpan.FromSeconds(1) || options.HandshakeTimeout > TimeSpan.FromMinutes(5)
                ? ValidateOptionsResult.Fail($"{Section}:HandshakeTimeout is {options.HandshakeTimeout}: give 00:00:01 to 00:05:00.")
                : ValidateOptionsResult.Success;
        }
    }
}
