using System.Collections.Immutable;
using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using Gateway.Admin.Audit;
using Gateway.Devices;

namespace Gateway.Admin.Api;

// What goes over the wire, in camelCase. Times are ISO 8601, UTC.

[Description("A device. Its ETag changes with name, tags, publicUrl and selfService.")]
public sealed record DeviceDocument(
    [property: Description("32 or 62 hex digits.")] string Uuid,
    string? Name,
    [property: Description("Name to value; the value may be empty.")] IReadOnlyDictionary<string, string> Tags,
    [property: Description("Whether visitors reach the device.")] bool PublicUrl,
    [property: Description("The device's address, whether it is switched on or not.")] string Url,
    [property: Description("Whether the device may switch its public URL itself.")] bool SelfService,
    DateTimeOffset? Created,
    [property: Description("Whether the device has a tunnel now.")] bool Online,
    [property: Description("When its last tunnel ended.")] DateTimeOffset? LastSeen);

public sealed record DeviceList(
    IReadOnlyList<DeviceDocument> Devices,
    [property: Description("How many devices match, on all pages.")] int Total,
    [property: Description("Give it as \"cursor\" for the next page; absent on the last.")] string? Next);

[Description("A new device. What is left out is as the gateway's configuration says.")]
public sealed record DeviceCreation
{
    [Description("An identity that the device already has; a new one if left out.")]
    public string? Uuid { get; init; }

    public string? Name { get; init; }

    public IReadOnlyDictionary<string, string>? Tags { get; init; }

    public bool? PublicUrl { get; init; }

    public bool? SelfService { get; init; }

    [Description("Whether to issue a key at once; true if left out.")]
    public bool? Key { get; init; }
}

public sealed record CreatedDevice(DeviceDocument Device, [property: Description("The device's key. It is shown this once.")] string? Key);

[Description("All of a device that can be changed: what is left out is emptied, or switched off.")]
public sealed record DeviceState
{
    public string? Name { get; init; }

    public IReadOnlyDictionary<string, string>? Tags { get; init; }

    public bool PublicUrl { get; init; }

    public bool SelfService { get; init; }
}

[Description("A merge patch (RFC 7396): what is left out stays; null empties a name, or removes a tag.")]
public sealed record DevicePatch
{
    public string? Name { get; init; }

    public IReadOnlyDictionary<string, string?>? Tags { get; init; }

    public bool? PublicUrl { get; init; }

    public bool? SelfService { get; init; }
}

public sealed record PublicUrlState([property: Required] bool? Enabled);

public sealed record PublicUrlDocument(bool Enabled, string Url);

[Description("Which devices to switch: give exactly one of devices, tag and all.")]
public sealed record BulkPublicUrl
{
    [Required]
    public bool? Enabled { get; init; }

    [Description("Uuids, at most 100,000.")]
    public IReadOnlyList<string>? Devices { get; init; }

    [Description("\"name\" or \"name=value\".")]
    public string? Tag { get; init; }

    [Description("true: every device.")]
    public bool? All { get; init; }
}

[Description("How far a bulk change is. As application/x-ndjson one line comes after each batch, and the last says what came of it; as application/json only that.")]
public sealed record BulkResult(
    int Done, int Total, [property: Description("Devices that were not as wanted before.")] int Changed, [property: Description("Uuids that are no device's.")] IReadOnlyList<string> NotFound);

[Description("A device's key, of which only the SHA-256 is kept.")]
public sealed record KeyDocument(
    [property: Description("The first 16 hex digits of the key's SHA-256.")] string Fingerprint, string? Name, DateTimeOffset? Created,
    [property: Description("From when on it opens nothing; absent: never.")] DateTimeOffset? Expires)
{
    internal static KeyDocument Of(DeviceKey key) => new(key.Hash.Fingerprint, key.Name, key.Created, key.Expires);
}

public sealed record KeyList(IReadOnlyList<KeyDocument> Keys);

public sealed record KeyCreation
{
    public string? Name { get; init; }

    public DateTimeOffset? Expires { get; init; }
}

public sealed record KeyRotation
{
    [Description("What people call the new key.")]
    public string? Name { get; init; }

    [Description("How long the old keys stay good; 86,400 (a day) if left out, 0 ends them at once.")]
    public long? OverlapSeconds { get; init; }
}

public sealed record IssuedKey(KeyDocument Key, [property: Description("The key. It is shown this once.")] string Text);

[Description("A domain that a device has of its own.")]
public sealed record DomainDocument(
    [property: Description("As the DNS has it: lower case, international letters in their ASCII form.")] string Domain,
    [property: Description("What the domain's CNAME has to name.")] string Target);

public sealed record DomainList(IReadOnlyList<DomainDocument> Domains);

[Description("What a device is doing.")]
public sealed record DeviceStatus(
    bool Online,
    [property: Description("The tunnels that are up, the newest first.")] IReadOnlyList<TunnelDocument> Tunnels,
    DateTimeOffset? LastSeen,
    string? LastNode,
    [property: Description("Name and version of the agent that dialled last.")] string? Agent,
    [property: Description("Visitors' requests since the device was added.")] long Requests,
    [property: Description("Those that the gateway answered itself.")] long Failures,
    [property: Description("Bytes of HTTP/2 to the device.")] long BytesSent,
    [property: Description("Bytes of HTTP/2 from the device.")] long BytesReceived,
    [property: Description("The last requests, the newest first; paths without their query.")] IReadOnlyList<RecentRequest> RecentRequests,
    [property: Description("Tunnels that have ended, the newest first.")] IReadOnlyList<PastTunnel> PastTunnels);

public sealed record TunnelDocument(string Node, DateTimeOffset Since, string? Address, string Agent);

public sealed record TokenCreation
{
    [Required]
    [Description("Whose it is, or what for.")]
    public string? Name { get; init; }

    [Required]
    [Description("read, operate or admin.")]
    public string? Scope { get; init; }

    public DateTimeOffset? Expires { get; init; }
}

public sealed record TokenDocument(string Id, string Name, string Scope, DateTimeOffset? Created, string? CreatedBy, DateTimeOffset? Expires, DateTimeOffset? LastUsed)
{
    internal static TokenDocument Of(Tokens.OperatorToken token) =>
        new(token.Id, token.Name, Tokens.Scopes.Name(token.Scope), token.Created, token.CreatedBy, token.Expires, token.LastUsed);
}

public sealed record TokenList(IReadOnlyList<TokenDocument> Tokens);

public sealed record CreatedToken(TokenDocument Token, [property: Description("The token. It is shown this once.")] string Text);

public sealed record WhoAmI(string Id, string Name, string Scope);

public sealed record AuditPage(IReadOnlyList<AuditEntry> Entries, [property: Description("Give it as \"cursor\" for the next page; absent on the last.")] string? Next);

public sealed record GatewayStatus(
    string Version, string Node, int Devices, int Online, [property: Description("False while the list of devices is still being read.")] bool Complete);
