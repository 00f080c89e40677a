using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Tunnel.Protocol;
using Tunnel.Protocol.DeviceSide;

namespace Tunnel.Agent;

/// <summary>What the agent was told, checked: where to dial, as whom, and where the application listens.</summary>
internal sealed record AgentSettings
{
    /// <summary>The exit status for a setting that is missing or wrong (EX_CONFIG of sysexits.h).</summary>
    public const int ExitConfiguration = 78;

    public required Uri Gateway { get; init; }
    public required DeviceUuid Uuid { get; init; }
    public required string Key { get; init; }
    public CertificateFiles? ClientCertificate { get; init; }
    public required Uri Target { get; init; }
    public required bool TargetInsecure { get; init; }
    public X509Certificate2Collection? TrustedRoots { get; init; }

    /// <summary>How many tunnels, to different nodes where there are several.</summary>
    public int Connections { get; init; } = 2;
    /// <summary>Where spans of requests that the gateway traces are sent to (OTLP over HTTP); null: nowhere.</summary>
    public Uri? Otlp { get; init; }

    /// <summary>Looks a setting up by flag, then environment, then file.</summary>
    /// <param name="flag">The value of a command line flag, by the setting's name.</param>
    /// <param name="environment">The value of an environment variable, by its name.</param>
    /// <exception cref="SettingsException">A setting is missing or wrong; the message names it, its value and the remedy.</exception>
    public static AgentSettings Read(Func<string, string?> flag, Func<string, string?> environment)
    {
        var file = ReadFile(flag("config") ?? environment("GATEWAY_CONFIG"));
        string? Find(string name, params ReadOnlySpan<string> variables)
        {
            if (flag(name) is { Length: > 0 } given)
            {
                return given;
            }

            foreach (var variable in variables)
            {
                if (environment(variable) is { Length: > 0 } set)
                {
                    return set;
                }
            }

            foreach (var variable in variables)
            {
                if (file.TryGetValue(variable, out var written) && written.Length > 0)
                {
                    return written;
                }
            }

            return null;
        }

        var gateway = Find("gateway", "GATEWAY_URL");
        var uuid = Find("uuid", "GATEWAY_UUID", "BALENA_DEVICE_UUID", "RESIN_DEVICE_UUID");
        var keyFile = Find("key-file", "GATEWAY_KEY_FILE");
        var key = keyFile is null ? Find("key", "GATEWAY_KEY", "BALENA_API_KEY", "RESIN_API_KEY") : ReadKey(keyFile);
        var certificate = Find("cert", "GATEWAY_CERT");
        var certificateKey = Find("cert-key", "GATEWAY_CERT_KEY");
        var target = Find("target", "GATEWAY_TARGET") ?? "http://127.0.0.1:80";
        var insecure = Find("target-insecure", "GATEWAY_TARGET_INSECURE") ?? "false";
        var ca = Find("ca", "GATEWAY_CA");
        var connections = Find("connections", "GATEWAY_CONNECTIONS") ?? "2";
        var otlp = Find("otlp", "OTEL_EXPORTER_OTLP_ENDPOINT");

        return new AgentSettings
        {
            Gateway = ParseUri(gateway, "--gateway (GATEWAY_URL)", "the gateway's tunnel address, e.g. https://tunnel.resindevice.io"),
            Uuid = ParseUuid(uuid),
            Key = key ?? (certificate is not null ? "" : null) ?? throw new SettingsException("--key-file (or GATEWAY_KEY, BALENA_API_KEY, RESIN_API_KEY) is missing: give the device's key, as `gateway device add` printed it."),
            ClientCertificate = certificate is null ? null
                : new CertificateFiles(certificate, certificateKey ?? throw new SettingsException("--cert-key (GATEWAY_CERT_KEY) is missing: give the PEM key of --cert.")),
            Target = ParseUri(target, "--target (GATEWAY_TARGET)", "where the application listens, e.g. http://127.0.0.1:80"),
            TargetInsecure = bool.TryParse(insecure, out var value) ? value
                : throw new SettingsException($"--target-insecure (GATEWAY_TARGET_INSECURE) is \"{insecure}\": give true or false."),
            Connections = int.TryParse(connections, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count is >= 1 and <= 8 ? count
                : throw new SettingsException($"--connections (GATEWAY_CONNECTIONS) is \"{connections}\": give 1 to 8."),
            TrustedRoots = ca is null ? null : ReadRoots(ca),
            Otlp = otlp is null ? null
                : Uri.TryCreate(otlp, UriKind.Absolute, out var receiver) && receiver.Scheme is "http" or "https" ? receiver
                : throw new SettingsException($"--otlp (OTEL_EXPORTER_OTLP_ENDPOINT) is \"{otlp}\": give the receiver's address, e.g. http://collector:4318."),
        };
    }

    private static Uri ParseUri(string? value, string name, string remedy) =>
        Uri.TryCreate(value, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.PathAndQuery == "/" && uri.UserInfo.Length == 0
            ? uri
            : throw new SettingsException(value is null ? $"{name} is missing: give {remedy}." : $"{name} is \"{value}\": give {remedy}, with http or https and without a path.");

    private static DeviceUuid ParseUuid(string? value) =>
        DeviceUuid.TryParse(value?.ToLowerInvariant(), null, out var uuid)
            ? uuid
            : throw new SettingsException((value is null ? "--uuid (GATEWAY_UUID, BALENA_DEVICE_UUID, RESIN_DEVICE_UUID) is missing" : $"--uuid (GATEWAY_UUID, BALENA_DEVICE_UUID, RESIN_DEVICE_UUID) is \"{value}\"")
                + ": give the device's 32 (or 62) hex digits.");

    private static string ReadKey(string path) => ReadText(path, "--key-file (GATEWAY_KEY_FILE)").Trim();

    private static X509Certificate2Collection ReadRoots(string path)
    {
        var roots = new X509Certificate2Collection();
        try
        {
            roots.ImportFromPem(ReadText(path, "--ca (GATEWAY_CA)"));
        }
        catch (CryptographicException exception)
        {
            throw new SettingsException($"--ca (GATEWAY_CA): {path} holds no readable certificate: {exception.Message}");
        }

        return roots.Count > 0 ? roots : throw new SettingsException($"--ca (GATEWAY_CA): {path} holds no certificate: give PEM.");
    }

    // The form of Docker's and systemd's environment files: NAME=value lines, # for comments, quotes optional.
    private static Dictionary<string, string> ReadFile(string? path)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        if (path is null)
        {
            return values;
        }

        var number = 0;
        foreach (var raw in ReadText(path, "--config (GATEWAY_CONFIG)").Split('\n'))
        {
            number++;
            var line = raw.Trim();
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            var equals = line.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new SettingsException($"--config (GATEWAY_CONFIG): {path} line {number} is no NAME=value.");
            }

            values[line[..equals].Trim()] = line[(equals + 1)..].Trim().Trim('"', '\'');
        }

        return values;
    }

    internal static string ReadText(string path, string name)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new SettingsException($"{name}: {exception.Message}");
        }
    }
}

/// <summary>A setting is missing or wrong.</summary>
internal sealed class SettingsException(string message) : Exception(message);
