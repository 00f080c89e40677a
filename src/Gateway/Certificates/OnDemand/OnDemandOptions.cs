namespace Gateway.Certificates.OnDemand;

/// <summary>Certificates at first use: for the domains that devices have of their own, and for devices that no wildcard is for.</summary>
internal sealed class OnDemandOptions
{
    private const string Section = $"{CertificateOptions.Section}:OnDemand";

    /// <summary>Default false.</summary>
    public bool Enabled { get; set; }

    /// <summary>The most certificates at first use that all nodes together order in an hour. Default 20.</summary>
    public int MaxPerHour { get; set; } = 20;

    /// <summary>The most that the handshakes of one address (an IPv6 /64) may cause in an hour. Default 5.</summary>
    public int MaxPerHourAndAddress { get; set; } = 5;

    /// <summary>How long a name that was refused is not looked into again. Default 1 min.</summary>
    public TimeSpan RefusalMemory { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>What is wrong; null when nothing is.</summary>
    public static string? Explain(OnDemandOptions options)
    {
        foreach (var (key, value) in new[] { ("MaxPerHour", options.MaxPerHour), ("MaxPerHourAndAddress", options.MaxPerHourAndAddress) })
        {
            if (value is < 1 or > 1_000_000)
            {
                return $"{Section}:{key} is {value}: give 1 to 1000000.";
            }
        }

        return options.RefusalMemory < TimeSpan.FromMilliseconds(100) || options.RefusalMemory > TimeSpan.FromDays(1)
            ? $"{Section}:RefusalMemory is {options.RefusalMemory}: give 00:00:00.100 to 1.00:00:00."
            : null;
    }
}
