using System.Buffers;
using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Tunnel.Protocol;

namespace Gateway.Admin.Api;

/// <summary>Checks what operators send; what is wrong is named, with what would be right.</summary>
internal static class Input
{
    public const int MaxLimit = 1000;
    public const int DefaultLimit = 50;

    private const int MaxName = 200;
    private const int MaxTags = 50;
    private const int MaxTagName = 100;
    private const int MaxTagValue = 500;

    private static readonly SearchValues<char> TagCharacters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-");

    public static DeviceUuid Uuid(string text) => DeviceUuid.TryParse(text.ToLowerInvariant(), null, out var uuid)
        ? uuid : throw Invalid($"\"{text}\" is no device uuid: give 32 (or 62) hex digits.");

    public static DomainName Domain(string? text) => DomainName.TryParse(text, out var domain)
        ? domain : throw Invalid($"\"{text}\" is no domain of a device: give a name such as kitchen.example.com, without a wildcard.");

    /// <summary>What people call something; null for what is empty.</summary>
    public static string? Name(string? text)
    {
        text = text?.Trim();
        return text is null or "" ? null
            : text.Length > MaxName ? throw Invalid($"The name has {text.Length} characters: give at most {MaxName}.")
            : text.Any(char.IsControl) ? throw Invalid("The name has control characters: leave them out.")
            : text;
    }

    public static ImmutableSortedDictionary<string, string> Tags(IEnumerable<KeyValuePair<string, string>>? tags)
    {
        var result = DeviceRecord.NoTags.ToBuilder();
        foreach (var (name, value) in tags ?? [])
        {
            result[TagName(name)] = value switch
            {
                null => throw Invalid($"The tag \"{name}\" is null: give a text, which may be empty."),
                { Length: > MaxTagValue } => throw Invalid($"The tag \"{name}\" has {value.Length} characters: give at most {MaxTagValue}."),
                _ => value,
            };
        }

        return result.Count > MaxTags ? throw Invalid($"These are {result.Count} tags: give at most {MaxTags}.") : result.ToImmutable();
    }

    public static string TagName(string name) => name.Length is > 0 and <= MaxTagName && !name.AsSpan().ContainsAnyExcept(TagCharacters)
        ? name : throw Invalid($"\"{name}\" is no name of a tag: give 1 to {MaxTagName} letters, digits, and . _ : / -");

    /// <summary>A tag as filters have it: <c>name</c> or <c>name=value</c>.</summary>
    public static TagFilter Tag(string text)
    {
        var tag = TagFilter.Parse(text);
        _ = TagName(tag.Name);
        return tag;
    }

    public static string UuidPrefix(string? text) => text is null ? ""
        : text.Length <= 62 && text.All(char.IsAsciiHexDigit) ? text.ToLowerInvariant() : throw Invalid($"uuid is \"{text}\": give the first hex digits of a uuid.");

    public static int Limit(string? text, int standard = DefaultLimit) => text is null ? standard
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var limit) && limit is >= 1 and <= MaxLimit
            ? limit : throw Invalid($"limit is \"{text}\": give 1 to {MaxLimit}.");

    public static bool? Flag(string name, string? text) => text switch
    {
        null => null,
        "true" => true,
        "false" => false,
        _ => throw Invalid($"{name} is \"{text}\": give true or false."),
    };

    public static bool ByName(string? sort) => sort switch
    {
        null or "uuid" => false,
        "name" => true,
        _ => throw Invalid($"sort is \"{sort}\": give uuid or name."),
    };

    public static Scope Scope(string? text) => Scopes.TryParse(text, out var scope)
        ? scope.Value : throw Invalid($"scope is {(text is null ? "missing" : $"\"{text}\"")}: give one of {Scopes.Names}.");

    public static DateTimeOffset? Expires(DateTimeOffset? expires, TimeProvider time) => expires is { } at && at <= time.GetUtcNow()
        ? throw Invalid($"expires is {at:u}, which is past: give a time to come, or leave it out.") : expires;

    /// <summary>In so many days, as forms have it; empty: never.</summary>
    public static DateTimeOffset? Days(string? text, TimeProvider time) => string.IsNullOrEmpty(text) ? null
        : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var days) && days is >= 1 and <= 3650
            ? time.GetUtcNow().AddDays(days) : throw Invalid($"days is \"{text}\": give 1 to 3650, or nothing for a token that does not expire.");

    public static T Need<T>(string name, T? value)
        where T : struct => value ?? throw Invalid($"{name} is missing.");

    /// <summary>What is wrong with a body, in the API's words and not in those of the serializer, which names the program's own types.</summary>
    public static string WhyUnreadable(JsonException exception)
    {
        const string unknown = "The JSON property '";
        var path = exception.Path is { Length: > 2 } at ? at[2..] : null;
        return exception.Message switch
        {
            var message when message.StartsWith(unknown, StringComparison.Ordinal) =>
                $"\"{message[unknown.Length..].Split('\'')[0]}\" is no field of this body: /reference has those that there are.",
            var message when message.StartsWith("The JSON value could not be converted", StringComparison.Ordinal) =>
                $"{(path is null ? "The body" : $"\"{path}\"")} has a value of another kind than it should: /reference says which.",
            var message => $"The body is no JSON: {message.Split(" Path: ")[0].Split(" LineNumber: ")[0]}",
        };
    }

    public static ApiException Invalid(string detail) => ApiProblem.Invalid.Exception(detail);
}
