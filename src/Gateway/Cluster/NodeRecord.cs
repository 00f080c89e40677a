using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace Gateway.Cluster;

/// <summary>What a node says of itself: the value of <c>node:&lt;id&gt;</c> in Redis.</summary>
/// <param name="Id">Its name (<see cref="ClusterOptions.Node"/>).</param>
/// <param name="Epoch">This start of it: 16 random hex digits.</param>
/// <param name="Started">When that was.</param>
/// <param name="Address">Where its inner listener is; null when it has none.</param>
/// <param name="Certificate">SHA-256 of its inner certificate (DER), 64 lower-case hex digits; null when it has none.</param>
/// <param name="Draining">It sends its devices elsewhere and takes no new ones.</param>
internal sealed record NodeRecord(string Id, string Epoch, DateTimeOffset Started, string? Address, string? Certificate, bool Draining)
{
    /// <summary>The record as JSON, signed with the nodes' secret (HMAC-SHA-256) where there is one.</summary>
    public string ToJson(string secret) => JsonSerializer.Serialize(new Signed(this, secret.Length == 0 ? null : Sign(secret)), JsonSerializerOptions.Web);

    /// <summary>Reads a record; null when it is none, or is not signed by one who knows the secret.</summary>
    public static NodeRecord? Parse(string json, string secret)
    {
        try
        {
            return JsonSerializer.Deserialize<Signed>(json, JsonSerializerOptions.Web) is { Record: { Id: not null, Epoch: not null } record } signed
                && (secret.Length == 0 || signed.Signature is { } signature
                    && CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(signature), Encoding.ASCII.GetBytes(record.Sign(secret))))
                ? record
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private string Sign(string secret) => Convert.ToHexStringLower(
        HMACSHA256.HashData(Encoding.UTF8.GetBytes(secret), JsonSerializer.SerializeToUtf8Bytes(this, JsonSerializerOptions.Web)));

    private sealed record Signed(NodeRecord Record, string? Signature);
}
