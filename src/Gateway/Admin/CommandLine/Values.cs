using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using Tunnel.Protocol;

namespace Gateway.Admin.CommandLine;

/// <summary>Arguments and options that can be wrong, checked before anything is done.</summary>
internal static class Values
{
    private const int ShortUuid = 7;

    /// <summary>A device, by its uuid or the beginning of it.</summary>
    public static Argument<string> Device()
    {
        var uuid = new Argument<string>("uuid") { Description = "The device's uuid, or its first 7 digits or more" };
        uuid.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !(token.Value.Length is >= ShortUuid and <= 62 && token.Value.All(char.IsAsciiHexDigit)))
            {
                result.AddError($"\"{token.Value}\" is no device uuid: give 32 (or 62) hex digits, or at least the first {ShortUuid}.");
            }
        });
        return uuid;
    }

    /// <summary>A whole uuid.</summary>
    public static Option<string?> WholeUuid(string name, string description)
    {
        var option = new Option<string?>(name) { HelpName = "hex", Description = description };
        option.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !DeviceUuid.TryParse(token.Value.ToLowerInvariant(), null, out _))
            {
                result.AddError($"\"{token.Value}\" is no device uuid: give 32 (or 62) hex digits.");
            }
        });
        return option;
    }

    public static Option<string[]> Tags(string description) => new("--tag") { HelpName = "name[=value]", Description = description };

    /// <summary>How many of something; 50 if it is not given.</summary>
    public static Option<int> Limit(string description, int most)
    {
        var option = new Option<int>("--limit") { HelpName = "n", Description = description, DefaultValueFactory = static _ => 50 };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [var token] && !(int.TryParse(token.Value, NumberStyles.None, CultureInfo.InvariantCulture, out var value) && value >= 1 && value <= most))
            {
                result.AddError($"--limit is \"{token.Value}\": give {(most == int.MaxValue ? "at least 1" : $"1 to {most}")}.");
            }
        });
        return option;
    }

    /// <summary><c>90d</c>, <c>24h</c>, <c>30m</c>, <c>15s</c>.</summary>
    public static Option<TimeSpan?> Duration(string name, string description) => new(name)
    {
        HelpName = "30m|24h|90d",
        Description = description,
        CustomParser = static result =>
        {
            var text = result.Tokens[0].Value;
            if (TryParseDuration(text) is { } duration)
            {
                return duration;
            }

            result.AddError($"\"{text}\" is no duration: give a number and s, m, h or d, e.g. 24h.");
            return null;
        },
    };

    /// <summary>The number of options among these that were given.</summary>
    public static int Given(this CommandResult result, params IEnumerable<Option> options) => options.Count(option => result.GetResult(option) is { Implicit: false });

    private static TimeSpan? TryParseDuration(string text)
    {
        if (text.Length < 2 || !int.TryParse(text.AsSpan(..^1), NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number > 100_000)
        {
            return null;
        }

        return text[^1] switch
        {
            's' => TimeSpan.FromSeconds(number),
            'm' => TimeSpan.FromMinutes(number),
            'h' => TimeSpan.FromHours(number),
            'd' => TimeSpan.FromDays(number),
            _ => null,
        };
    }
}
