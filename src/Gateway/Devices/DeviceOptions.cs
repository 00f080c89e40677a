using Microsoft.Extensions.Options;

namespace Gateway.Devices;

/// <summary>How long what is known of a device may be used.</summary>
internal sealed class DeviceOptions
{
    public const string Section = "Devices";

    /// <summary>A change made straight in Redis, without the channel, is seen within this time. Default 2 s.</summary>
    public TimeSpan CacheTtl { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>While Redis is away, known records stay in use for this long; then visitors and devices are turned away. Default 5 min.</summary>
    public TimeSpan MaxStaleness { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>How many records are kept in memory before the absence of a device is no longer remembered. Default 100,000, about 1 KB each.</summary>
    public int CacheCapacity { get; set; } = 100_000;

    /// <summary>Whether visitors reach a new device at once. Default false.</summary>
    public bool PublicUrlByDefault { get; set; }

    /// <summary>Whether a new device may switch its own public URL. Default false.</summary>
    public bool SelfServiceByDefault { get; set; }

    /// <summary>How often the list of all devices is read anew from Redis, for what was written there without the channel. Default 1 min.</summary>
    public TimeSpan ReconcileInterval { get; set; } = TimeSpan.FromMinutes(1);

    /// <summary>How many of a device's last requests are kept for its operators; their paths, never their queries. Default 50; 0 for none.</summary>
    public int RecentRequests { get; set; } = 50;

    internal sealed class Validator : IValidateOptions<DeviceOptions>
    {
        public ValidateOptionsResult Validate(string? name, DeviceOptions options)
        {
            if (options.CacheTtl < TimeSpan.FromMilliseconds(10) || options.CacheTtl > TimeSpan.FromMinutes(5))
            {
                return ValidateOptionsResult.Fail($"{Section}:CacheTtl is {options.CacheTtl}: give 00:00:00.010 to 00:05:00.");
            }

            if (options.MaxStaleness < options.CacheTtl || options.MaxStaleness > TimeSpan.FromDays(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxStaleness is {options.MaxStaleness}: give {Section}:CacheTtl ({options.CacheTtl}) to 1.00:00:00.");
            }

            if (options.ReconcileInterval < TimeSpan.FromSeconds(1) || options.ReconcileInterval > TimeSpan.FromDays(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:ReconcileInterval is {options.ReconcileInterval}: give 00:00:01 to 1.00:00:00.");
            }

            if (options.RecentRequests is < 0 or > 1000)
            {
                return ValidateOptionsResult.Fail($"{Section}:RecentRequests is {options.RecentRequests}: give 0 to 1000.");
            }

            return options.CacheCapacity < 1000
                ? ValidateOptionsResult.Fail($"{Section}:CacheCapacity is {options.CacheCapacity}: give at least 1000.")
                : ValidateOptionsResult.Success;
        }
    }
}
