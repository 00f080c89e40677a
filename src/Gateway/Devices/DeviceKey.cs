using System.Buffers;
using System.Buffers.Text;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace Gateway.Devices;

/// <summary>
/// The SHA-256 of a device's key, which is all that is kept of it. Keys are 256-bit random, so nothing slower is needed,
/// and a slow hash would make a reconnect storm a denial of service.
/// </summary>
internal sealed class DeviceKeyHash : IEquatable<DeviceKeyHash>
{
    /// <summary>Keys are recognised in leaked text by this prefix.</summary>
    private const string Prefix = "dgk_";

    private const int KeyBytes = 32;

    private readonly byte[] _hash;

    private DeviceKeyHash(byte[] hash) => _hash = hash;

    /// <summary>Makes a new key. It is shown once, by the caller, and never kept.</summary>
    public static (string Key, DeviceKeyHash Hash) New()
    {
        var key = Prefix + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(KeyBytes));
        return (key, Of(key));
    }

    /// <summary>The hash of a key.</summary>
    public static DeviceKeyHash Of(string key) => new(SHA256.HashData(Encoding.UTF8.GetBytes(key)));

    /// <summary>The hash of the key in a request's <c>Authorization: Bearer</c> (RFC 6750), or of nothing.</summary>
    public static DeviceKeyHash OfBearer(HttpRequest request)
    {
        const string scheme = "Bearer ";
        var authorization = request.Headers.Authorization.ToString();
        return Of(authorization.StartsWith(scheme, StringComparison.OrdinalIgnoreCase) ? authorization[scheme.Length..].Trim() : "");
    }

    /// <summary>Reads the 64 hex digits that stand in Redis.</summary>
    public static bool TryParse(ReadOnlySpan<char> hex, [NotNullWhen(true)] out DeviceKeyHash? hash)
    {
        var bytes = new byte[SHA256.HashSizeInBytes];
        hash = hex.Length == bytes.Length * 2 && Convert.FromHexString(hex, bytes, out _, out _) == OperationStatus.Done ? new DeviceKeyHash(bytes) : null;
        return hash is not null;
    }

    /// <summary>Compares without telling by time where a difference is.</summary>
    public bool Matches(string key) => Matches(Of(key));

    /// <inheritdoc cref="Matches(string)"/>
    public bool Matches(DeviceKeyHash other) => CryptographicOperations.FixedTimeEquals(_hash, other._hash);

    public bool Equals(DeviceKeyHash? other) => other is not null && Matches(other);

    public override bool Equals(object? obj) => Equals(obj as DeviceKeyHash);

    public override int GetHashCode() => BitConverter.ToInt32(_hash);

    /// <summary>The first 16 hex digits: names the key among a device's keys without helping to guess it.</summary>
    public string Fingerprint => Convert.ToHexStringLower(_hash.AsSpan(0, 8));

    /// <summary>64 lower-case hex digits, as they stand in Redis.</summary>
    public override string ToString() => Convert.ToHexStringLower(_hash);
}

/// <summary>One of a device's keys, of which only the hash is known. A device may have several at once, so that one can be replaced without a gap.</summary>
/// <param name="Hash">Its SHA-256.</param>
/// <param name="Name">What people call it; optional.</param>
/// <param name="Created">When it was issued; null for one that another system wrote.</param>
/// <param name="Expires">From when on it opens nothing; null: never.</param>
internal sealed record DeviceKey(DeviceKeyHash Hash, string? Name = null, DateTimeOffset? Created = null, DateTimeOffset? Expires = null)
{
    public bool IsValid(DateTimeOffset now) => Expires is not { } end || now < end;
}
