using System.Text.Json;

namespace Gateway.Admin.CommandLine;

/// <summary>Where settings come from, the later winning: file, folder of secrets, environment, command line.</summary>
internal static class GatewayConfiguration
{
    private const string DefaultFile = "gateway.json";
    private const string EnvironmentPrefix = "GATEWAY_";

    /// <exception cref="ConfigurationException">The file cannot be read, or has a key that no part of the gateway knows.</exception>
    public static void Add(IConfigurationManager configuration, string? file, IReadOnlyList<string> settings)
    {
        file ??= Environment.GetEnvironmentVariable("GATEWAY_CONFIG");
        if (file is not null && !File.Exists(file))
        {
            throw new ConfigurationException($"--config {file}: there is no such file.");
        }

        var own = new ConfigurationBuilder();
        try
        {
            own.AddJsonFile(Path.GetFullPath(file ?? DefaultFile), optional: file is null, reloadOnChange: false)
                .AddSecrets(Environment.GetEnvironmentVariable("GATEWAY_SECRETS"))
                .AddInMemoryCollection(FromEnvironment())
                .AddInMemoryCollection(FromCommandLine(settings));
            KnownSettings.Check(own.Build());
        }
        catch (Exception exception) when (exception is InvalidDataException or JsonException or FormatException)
        {
            throw new ConfigurationException($"{file ?? DefaultFile} is no JSON: {exception.GetBaseException().Message}");
        }

        // The sources and not the built configuration: a chained one hides values that are empty on purpose.
        foreach (var source in own.Sources)
        {
            configuration.Sources.Add(source);
        }

        configuration.AddInMemoryCollection(ForOpenTelemetry());
    }

    // A folder with a file a setting, as Kubernetes' secrets and systemd's credentials are: Storage__Redis holds Storage:Redis.
    private static IConfigurationBuilder AddSecrets(this IConfigurationBuilder configuration, string? folder) =>
        folder is null ? configuration
        : Directory.Exists(folder) ? configuration.AddKeyPerFile(Path.GetFullPath(folder), optional: false, reloadOnChange: false)
        : throw new ConfigurationException($"GATEWAY_SECRETS is \"{folder}\": there is no such folder.");

    // "key=value"; of a key that is given twice the last counts, as with any flag.
    private static Dictionary<string, string?> FromCommandLine(IReadOnlyList<string> settings)
    {
        var values = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase);
        foreach (var setting in settings)
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            values[setting[..equals]] = setting[(equals + 1)..];
        }

        return values;
    }

    // OpenTelemetry's own variables (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_CERTIFICATE ...): its library reads them.
    private static IEnumerable<KeyValuePair<string, string?>> ForOpenTelemetry() =>
        from System.Collections.DictionaryEntry variable in Environment.GetEnvironmentVariables()
        let name = (string)variable.Key
        where name.StartsWith("OTEL_", StringComparison.Ordinal)
        select new KeyValuePair<string, string?>(name, (string?)variable.Value);

    // Every setting stands in a section, so its variable has a separator. Others begin with the same word and are none:
    // the agent's, and those that Kubernetes gives each pod for a service called "gateway" (GATEWAY_PORT_443_TCP).
    private static IEnumerable<KeyValuePair<string, string?>> FromEnvironment() =>
        from System.Collections.DictionaryEntry variable in Environment.GetEnvironmentVariables()
        let name = (string)variable.Key
        where name.StartsWith(EnvironmentPrefix, StringComparison.OrdinalIgnoreCase) && name.Contains("__", StringComparison.Ordinal)
        select new KeyValuePair<string, string?>(name[EnvironmentPrefix.Length..].Replace("__", ":", StringComparison.Ordinal), (string?)variable.Value);
}

/// <summary>The configuration is wrong; the message names key, value and remedy.</summary>
internal sealed class ConfigurationException(string message) : Exception(message);
