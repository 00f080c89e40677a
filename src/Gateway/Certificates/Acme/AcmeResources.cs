using System.Text.Json;
using System.Text.Json.Serialization;

namespace Gateway.Certificates.Acme;

/// <summary>How what a server says is read: what has to be there is, and what is null is not.</summary>
internal static class AcmeJson
{
    public static readonly JsonSerializerOptions Options = new(JsonSerializerDefaults.Web)
    {
        RespectNullableAnnotations = true,
        RespectRequiredConstructorParameters = true,
        Converters = { new AddressConverter() },
    };

    // Whole addresses alone: others cannot be asked.
    private sealed class AddressConverter : JsonConverter<Uri>
    {
        public override Uri Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.TokenType == JsonTokenType.String && Uri.TryCreate(reader.GetString(), UriKind.Absolute, out var address) && address.Scheme is "https" or "http"
                ? address
                : throw new JsonException("an address is not whole");

        public override void Write(Utf8JsonWriter writer, Uri value, JsonSerializerOptions options) => writer.WriteStringValue(value.AbsoluteUri);
    }
}

/// <summary>RFC 8555 section 7.1.1; <c>renewalInfo</c> is RFC 9773's, <c>profiles</c> draft-ietf-acme-profiles'.</summary>
internal sealed record AcmeDirectory
{
    public required Uri NewNonce { get; init; }

    public required Uri NewAccount { get; init; }

    public required Uri NewOrder { get; init; }

    public required Uri RevokeCert { get; init; }

    public Uri? RenewalInfo { get; init; }

    public AcmeDirectoryMeta? Meta { get; init; }
}

internal sealed record AcmeDirectoryMeta
{
    public bool ExternalAccountRequired { get; init; }

    public Dictionary<string, string>? Profiles { get; init; }
}

/// <summary>RFC 8555 section 7.1.3.</summary>
internal sealed record AcmeOrder
{
    public required string Status { get; init; }

    public IReadOnlyList<Uri> Authorizations { get; init => field = [.. value.Where(static one => one is not null)]; } = [];

    public Uri? Finalize { get; init; }

    public Uri? Certificate { get; init; }

    public AcmeProblem? Error { get; init; }
}

/// <summary>RFC 8555 section 7.1.4.</summary>
internal sealed record AcmeAuthorization
{
    public required string Status { get; init; }

    public required AcmeIdentifier Identifier { get; init; }

    public IReadOnlyList<AcmeChallengeResource> Challenges { get; init => field = [.. value.Where(static one => one is not null)]; } = [];
}

internal sealed record AcmeIdentifier(string Type, string Value);

/// <summary>RFC 8555 section 7.1.5.</summary>
internal sealed record AcmeChallengeResource
{
    public required string Type { get; init; }

    public required Uri Url { get; init; }

    public string Token { get; init; } = "";

    public AcmeProblem? Error { get; init; }
}

/// <summary>RFC 8555 section 6.7.</summary>
internal sealed record AcmeProblem
{
    public string? Type { get; init; }

    public string? Detail { get; init; }

    public IReadOnlyList<AcmeSubproblem>? Subproblems { get; init; }

    /// <summary>The type without its prefix.</summary>
    [JsonIgnore]
    public string Word => Type?.StartsWith(Prefix, StringComparison.Ordinal) == true ? Type[Prefix.Length..] : Type ?? "error";

    private const string Prefix = "urn:ietf:params:acme:error:";

    public override string ToString() =>
        $"{Word}: {Detail}" + string.Concat((Subproblems ?? []).Select(static part => $"; {part?.Identifier?.Value}: {part?.Detail}"));
}

internal sealed record AcmeSubproblem(string? Type, string? Detail, AcmeIdentifier? Identifier);

/// <summary>RFC 9773 section 4.2.</summary>
internal sealed record AcmeRenewalInfo(AcmeWindow SuggestedWindow);

internal sealed record AcmeWindow(DateTimeOffset Start, DateTimeOffset End);
