using Gateway.Certificates;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Edge;
using Gateway.Limits;
using Gateway.Listeners;
using Gateway.Listeners.Tls;
using Gateway.Storage;
using Gateway.Telemetry;
using Gateway.Tunnels;

namespace Gateway.Admin.CommandLine;

/// <summary>Finds misspelt keys: a setting that nobody reads would be a silent surprise.</summary>
internal static class KnownSettings
{
    internal static readonly (string Section, Type Options)[] Known =
    [
        (StorageOptions.Section, typeof(StorageOptions)),
        (DeviceOptions.Section, typeof(DeviceOptions)),
        (TunnelOptions.Section, typeof(TunnelOptions)),
        (ListenerOptions.Section, typeof(ListenerOptions)),
        (TlsOptions.Section, typeof(TlsOptions)),
        (DomainOptions.Section, typeof(DomainOptions)),
        (CertificateOptions.Section, typeof(CertificateOptions)),
        (EdgeOptions.Section, typeof(EdgeOptions)),
        (LimitOptions.Section, typeof(LimitOptions)),
        (ClusterOptions.Section, typeof(ClusterOptions)),
        (TelemetryOptions.Section, typeof(TelemetryOptions)),
        (AdminOptions.Section, typeof(AdminOptions)),
        (ClientOptions.Section, typeof(ClientOptions)),
    ];

    /// <exception cref="ConfigurationException">A key is unknown.</exception>
    public static void Check(IConfiguration configuration)
    {
        foreach (var section in configuration.GetChildren())
        {
            // "Logging" is the platform's; a lone GATEWAY_CONFIG is the command line's.
            if (Is(section.Key, "Logging") || Is(section.Key, "Config"))
            {
                continue;
            }

            var types = Known.Where(known => Is(known.Section, section.Key)).Select(static known => known.Options).ToList();
            if (types.Count == 0)
            {
                throw Unknown(section.Key, Known.Select(static known => known.Section).Distinct(StringComparer.Ordinal));
            }

            Check(section, types);
        }
    }

    private static void Check(IConfigurationSection section, List<Type> types)
    {
        var properties = types.SelectMany(static type => type.GetProperties()).ToList();
        foreach (var child in section.GetChildren())
        {
            if (properties.Find(property => Is(property.Name, child.Key)) is not { } property)
            {
                throw Unknown(child.Path, properties.Select(known => $"{section.Path}:{known.Name}"));
            }

            // An options object of its own, or a list of them; plain values end here.
            if (IsOptions(property.PropertyType))
            {
                Check(child, [property.PropertyType]);
            }
            else if (property.PropertyType.GetGenericArguments() is [var element] && IsOptions(element))
            {
                foreach (var item in child.GetChildren())
                {
                    Check(item, [element]);
                }
            }
        }
    }

    private static bool IsOptions(Type type) => type is { IsClass: true, Namespace: var name } && name?.StartsWith("System", StringComparison.Ordinal) == false;

    private static ConfigurationException Unknown(string key, IEnumerable<string> known) =>
        new($"{key} is no setting: remove it, or give one of {string.Join(", ", known)}.");

    private static bool Is(string one, string other) => one.Equals(other, StringComparison.OrdinalIgnoreCase);
}
