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

            return options.CacheCapacity < 1000
                ? ValidateOptionsResult.Fail($"{Section}:CacheCapacity is {options.CacheCapacity}: give at least 1000.")
                : ValidateOptionsResult.Success;
        }
    }
}
