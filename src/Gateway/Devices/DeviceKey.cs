using System.Buffers.Text;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;
using System.Text;

namespace Gateway.Devices;

/// <summary>
/// The SHA-256 of a device's key, which is all that is kept of it. Keys are 256-bit random, so nothing slower is needed,
/// and a slow hash would make a reconnect storm a denial of service.
/// </summary>
internal sealed class DeviceKeyHash
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

    /// <summary>Reads the 64 hex digits that stand in Redis.</summary>
    public static bool TryParse(string? hex, [NotNullWhen(true)] out DeviceKeyHash? hash)
    {
        hash = hex is { Length: SHA256.HashSizeInBytes * 2 } && hex.All(char.IsAsciiHexDigit) ? new DeviceKeyHash(Convert.FromHexString(hex)) : null;
        return hash is not null;
    }

    /// <summary>Compares without telling by time where a difference is.</summary>
    public bool Matches(string key) => CryptographicOperations.FixedTimeEquals(_hash, Of(key)._hash);

    /// <summary>64 lower-case hex digits.</summary>
    public override string ToString() => Convert.ToHexStringLower(_hash);
}
