using Microsoft.Extensions.Options;

namespace Gateway.Admin;

/// <summary>What operators may do, and how.</summary>
internal sealed class AdminOptions
{
    public const string Section = "Admin";

    private const int MinTokenLength = 32;

    /// <summary>A first token of scope <c>admin</c>, to create others with. At least 32 characters; default empty: none.</summary>
    public string InitialToken { get; set; } = "";

    /// <summary>What the first token is called in the audit.</summary>
    internal string InitialTokenName { get; set; } = "configuration";

    /// <summary>Whether the first token is made up for one command and leaves no trace among the tokens.</summary>
    internal bool InitialTokenIsPassing { get; set; }

    /// <summary>After so many wrong tokens from one address in a minute, further ones are answered with 429. Default 10.</summary>
    public int MaxFailuresPerMinute { get; set; } = 10;

    /// <summary>How long a sign-in to the dashboard lasts without use. Default 12 h.</summary>
    public TimeSpan SessionTimeout { get; set; } = TimeSpan.FromHours(12);

    /// <summary>How many entries of the audit are kept in Redis. Default 10,000.</summary>
    public int AuditEntries { get; set; } = 10_000;

    internal sealed class Validator : IValidateOptions<AdminOptions>
    {
        public ValidateOptionsResult Validate(string? name, AdminOptions options)
        {
            // The message never has the value: it is a secret.
            if (options.InitialToken.Length is > 0 and < MinTokenLength)
            {
                return ValidateOptionsResult.Fail($"{Section}:InitialToken has {options.InitialToken.Length} characters: give at least {MinTokenLength} random ones, e.g. from \"openssl rand -base64 32\".");
            }

            if (options.MaxFailuresPerMinute < 1)
            {
                return ValidateOptionsResult.Fail($"{Section}:MaxFailuresPerMinute is {options.MaxFailuresPerMinute}: give at least 1.");
            }

            if (options.SessionTimeout < TimeSpan.FromMinutes(1) || options.SessionTimeout > TimeSpan.FromDays(30))
            {
                return ValidateOptionsResult.Fail($"{Section}:SessionTimeout is {options.SessionTimeout}: give 00:01:00 to 30.00:00:00.");
            }

            return options.AuditEntries < 100
                ? ValidateOptionsResult.Fail($"{Section}:AuditEntries is {options.AuditEntries}: give at least 100.")
                : ValidateOptionsResult.Success;
        }
    }
}
