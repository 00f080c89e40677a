using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace Gateway.Certificates.Acme;

/// <summary>The key of an ACME account: ES256 (RFC 7518 section 3.4) and what is derived from it.</summary>
internal sealed class AccountKey : IDisposable
{
    private readonly ECDsa _key;
    private readonly (string X, string Y) _point;

    private AccountKey(ECDsa key)
    {
        _key = key;
        var q = key.ExportParameters(false).Q;
        _point = (Base64Url.EncodeToString(q.X), Base64Url.EncodeToString(q.Y));

        // RFC 7638 section 3: the required members, in lexicographic order, without whitespace.
        Thumbprint = Base64Url.EncodeToString(SHA256.HashData(Encoding.UTF8.GetBytes($$"""{"crv":"P-256","kty":"EC","x":"{{_point.X}}","y":"{{_point.Y}}"}""")));
    }

    /// <summary>The JWK thumbprint (RFC 7638).</summary>
    public string Thumbprint { get; }

    public static AccountKey New() => new(ECDsa.Create(ECCurve.NamedCurves.nistP256));

    /// <exception cref="CryptographicException">The text is no such key.</exception>
    public static AccountKey FromPem(string pem)
    {
        var key = ECDsa.Create();
        try
        {
            key.ImportFromPem(pem);
        }
        catch (ArgumentException exception)
        {
            throw new CryptographicException("The account's key is no PEM key.", exception);
        }

        return new AccountKey(key);
    }

    public string ToPem() => _key.ExportPkcs8PrivateKeyPem();

    /// <summary>What a challenge's answer is made of (RFC 8555 section 8.1).</summary>
    public string Authorize(string token) => $"{token}.{Thumbprint}";

    /// <summary>Signs a request (RFC 8555 section 6.2).</summary>
    /// <param name="payload">The content; null for POST-as-GET.</param>
    /// <param name="url">Where it goes to.</param>
    /// <param name="nonce">A nonce of the server.</param>
    /// <param name="account">The account's address; null while there is none.</param>
    public string Sign(JsonNode? payload, Uri url, string nonce, string? account)
    {
        var head = new JsonObject { ["alg"] = "ES256", ["nonce"] = nonce, ["url"] = url.AbsoluteUri };
        if (account is null)
        {
            head["jwk"] = ToJwk();
        }
        else
        {
            head["kid"] = account;
        }

        return Flatten(head, payload?.ToJsonString() ?? "", data => _key.SignData(data, HashAlgorithmName.SHA256, DSASignatureFormat.IeeeP1363FixedFieldConcatenation)).ToJsonString();
    }

    /// <summary>The proof that the account belongs to a customer of the authority (RFC 8555 section 7.3.4).</summary>
    public JsonObject Bind(string keyId, byte[] mac, Uri url) => Flatten(
        new JsonObject { ["alg"] = "HS256", ["kid"] = keyId, ["url"] = url.AbsoluteUri }, ToJwk().ToJsonString(), data => HMACSHA256.HashData(mac, data));

    public void Dispose() => _key.Dispose();

    private JsonObject ToJwk() => new() { ["crv"] = "P-256", ["kty"] = "EC", ["x"] = _point.X, ["y"] = _point.Y };

    // The flattened JSON serialization (RFC 7515 section 7.2.2).
    private static JsonObject Flatten(JsonObject head, string payload, Func<byte[], byte[]> sign)
    {
        var encodedHead = Base64Url.EncodeToString(Encoding.UTF8.GetBytes(head.ToJsonString()));
        var encodedPayload = Base64Url.EncodeToString(Encoding.UTF8.GetBytes(payload));
        return new JsonObject
        {
            ["protected"] = encodedHead,
            ["payload"] = encodedPayload,
            ["signature"] = Base64Url.EncodeToString(sign(Encoding.ASCII.GetBytes($"{encodedHead}.{encodedPayload}"))),
        };
    }
}
