using System.Text.Json;

namespace Gateway.Admin.CommandLine;

/// <summary>Where settings come from, the later winning: file, environment, command line.</summary>
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
                .AddEnvironmentVariables(EnvironmentPrefix)
                .AddInMemoryCollection(settings.Select(static setting =>
                {
                    var equals = setting.IndexOf('=', StringComparison.Ordinal);
                    return new KeyValuePair<string, string?>(setting[..equals], setting[(equals + 1)..]);
                }));
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
    }
}

/// <summary>The configuration is wrong; the message names key, value and remedy.</summary>
internal sealed class ConfigurationException(string message) : Exception(message);
