using Microsoft.Extensions.Options;

namespace Gateway.Storage;

/// <summary>Where the truth about devices is kept.</summary>
internal sealed class StorageOptions
{
    public const string Section = "Storage";

    /// <summary>
    /// A StackExchange.Redis connection string, e.g. <c>redis.example.com:6379,password=...</c>. Empty (the default): an
    /// embedded server in this process, kept under <see cref="DataDirectory"/>.
    /// </summary>
    public string Redis { get; set; } = "";

    /// <summary>The folder of the embedded server's files. Default <c>data</c>, below the working directory.</summary>
    public string DataDirectory { get; set; } = "data";

    /// <summary>The longest wait for one answer of Redis. Default 1 s.</summary>
    public TimeSpan Timeout { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>The least a command at a terminal waits.</summary>
    internal static readonly TimeSpan AtTerminal = TimeSpan.FromSeconds(10);

    internal sealed class Validator : IValidateOptions<StorageOptions>
    {
        public ValidateOptionsResult Validate(string? name, StorageOptions options)
        {
            if (options.Redis.Length > 0)
            {
                try
                {
                    if (StackExchange.Redis.ConfigurationOptions.Parse(options.Redis).EndPoints.Count == 0)
                    {
                        return ValidateOptionsResult.Fail($"{Section}:Redis names no server: give at least one host:port, e.g. \"redis.example.com:6379\".");
                    }
                }
                catch (ArgumentException exception)
                {
                    // The string may hold a password: the message names the part, not the value.
                    return ValidateOptionsResult.Fail($"{Section}:Redis is no connection string: {exception.Message}");
                }
            }

            if (options.DataDirectory.Length == 0)
            {
                return ValidateOptionsResult.Fail($"{Section}:DataDirectory is empty: give a folder, e.g. \"data\".");
            }

            return options.Timeout < TimeSpan.FromMilliseconds(50) || options.Timeout > TimeSpan.FromMinutes(1)
                ? ValidateOptionsResult.Fail($"{Section}:Timeout is {options.Timeout}: give 00:00:00.050 to 00:01:00.")
                : ValidateOptionsResult.Success;
        }
    }
}
