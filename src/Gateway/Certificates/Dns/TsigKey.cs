using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace Gateway.Certificates.Dns;

/// <summary>A key that a name server knows: it signs updates and the answers to them (RFC 8945).</summary>
internal sealed class TsigKey
{
    private const int AnyClass = 255;
    private const int Fudge = 300;

    private readonly string _name;
    private readonly string _algorithm;
    private readonly byte[] _secret;

    private TsigKey(string name, string algorithm, byte[] secret) => (_name, _algorithm, _secret) = (name, algorithm, secret);

    /// <summary>Makes a key of its configuration; false when a part is missing or wrong.</summary>
    public static bool TryCreate(DnsOptions options, [NotNullWhen(true)] out TsigKey? key)
    {
        key = null;
        var algorithm = options.TsigAlgorithm.TrimEnd('.').ToLowerInvariant();
        if (options.TsigName.Length == 0 || algorithm is not ("hmac-sha256" or "hmac-sha384" or "hmac-sha512"))
        {
            return false;
        }

        var secret = new byte[options.TsigKey.Length];
        if (!Convert.TryFromBase64String(options.TsigKey, secret, out var length) || length == 0)
        {
            return false;
        }

        key = new TsigKey(options.TsigName.TrimEnd('.').ToLowerInvariant(), algorithm, secret[..length]);
        return true;
    }

    /// <summary>Signs a message (RFC 8945 section 4.3).</summary>
    /// <returns>The message with its TSIG record, and the MAC, which the answer's depends on.</returns>
    public (byte[] Message, byte[] Mac) Sign(ReadOnlySpan<byte> message, DateTimeOffset now)
    {
        var time = now.ToUnixTimeSeconds();
        var mac = Mac([.. message, .. Variables(time, Fudge, 0, [])]);
        var data = new DnsWriter().Name(_algorithm).U16((int)(time >> 32)).U32(time).U16(Fudge).U16(mac.Length).Bytes(mac)
            .Bytes(message[..2]).U16(0).U16(0).ToArray();
        var writer = new DnsWriter().Bytes(message).Record(_name, DnsType.Tsig, AnyClass, 0, data);
        writer.Patch(10, new DnsReader(message).Count(3) + 1);
        return (writer.ToArray(), mac);
    }

    /// <summary>Checks that an answer comes from who knows the key, and belongs to the question (RFC 8945 section 5.3).</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="requestMac">What <see cref="Sign"/> returned.</param>
    /// <param name="now">The time.</param>
    /// <returns>Null when all is well; what is wrong otherwise.</returns>
    public string? Verify(ReadOnlySpan<byte> answer, byte[] requestMac, DateTimeOffset now)
    {
        var reader = new DnsReader(answer);
        for (var i = reader.Count(0); i > 0; i--)
        {
            if (!reader.TryName(out _) || !reader.TryU16(out _) || !reader.TryU16(out _))
            {
                return "its question cannot be read";
            }
        }

        var left = reader.Count(1) + reader.Count(2) + reader.Count(3);
        while (left-- > 0)
        {
            var start = reader.Position;
            if (!reader.TryRecord(out var name, out var type, out _, out var data))
            {
                return "it cannot be read";
            }

            if (type == DnsType.Tsig)
            {
                return left == 0 && name.Equals(_name, StringComparison.OrdinalIgnoreCase) ? Verify(answer, start, data, requestMac, now) : "its signature is by another key";
            }
        }

        return "it is not signed";
    }

    private string? Verify(ReadOnlySpan<byte> answer, int start, ReadOnlySpan<byte> data, byte[] requestMac, DateTimeOffset now)
    {
        // Names within are not compressed (RFC 8945 section 4.2).
        var inner = new DnsReader(data) { Position = 0 };
        if (!inner.TryName(out var algorithm) || !algorithm.Equals(_algorithm, StringComparison.OrdinalIgnoreCase)
            || !inner.TryU16(out var high) || !inner.TryU16(out var middle) || !inner.TryU16(out var low) || !inner.TryU16(out var fudge) || !inner.TryU16(out var length)
            || inner.Position + length > data.Length)
        {
            return "its signature cannot be read";
        }

        var mac = data.Slice(inner.Position, length).ToArray();
        inner.Position += length;
        if (!inner.TryU16(out var id) || !inner.TryU16(out var error) || !inner.TryU16(out var otherLength) || inner.Position + otherLength > data.Length)
        {
            return "its signature cannot be read";
        }

        if (error != 0)
        {
            return error switch
            {
                16 => "the server says BADSIG: the key's secret is another one there",
                17 => "the server says BADKEY: it does not know the key",
                18 => "the server says BADTIME: the two clocks differ by more than 5 minutes",
                _ => $"the server says TSIG error {error}",
            };
        }

        var time = (long)high << 32 | (long)middle << 16 | (uint)low;
        var original = new DnsWriter().U16(id).Bytes(answer[2..start]);
        original.Patch(10, new DnsReader(answer).Count(3) - 1);
        var expected = Mac([.. new DnsWriter().U16(requestMac.Length).Bytes(requestMac).ToArray(), .. original.ToArray(), .. Variables(time, fudge, error, data.Slice(inner.Position, otherLength))]);
        return !CryptographicOperations.FixedTimeEquals(expected, mac) ? "its signature is wrong"
            : Math.Abs(now.ToUnixTimeSeconds() - time) > fudge ? "it is too old, or the two clocks differ"
            : null;
    }

    // RFC 8945 section 4.3.3.
    private byte[] Variables(long time, int fudge, int error, ReadOnlySpan<byte> other) =>
        new DnsWriter().Name(_name).U16(AnyClass).U32(0).Name(_algorithm).U16((int)(time >> 32)).U32(time).U16(fudge).U16(error).U16(other.Length).Bytes(other).ToArray();

    private byte[] Mac(byte[] data) => _algorithm switch
    {
        "hmac-sha384" => HMACSHA384.HashData(_secret, data),
        "hmac-sha512" => HMACSHA512.HashData(_secret, data),
        _ => HMACSHA256.HashData(_secret, data),
    };
}
