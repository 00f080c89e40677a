using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace Tunnel.Protocol;

/// <summary>
/// A device's identity: 32 lower-case hex digits, or the 62 of the seed's time.
/// Both fit a DNS label (RFC 1035 section 2.3.4: at most 63 octets).
/// </summary>
public readonly record struct DeviceUuid : ISpanParsable<DeviceUuid>
{
    private const int Length = 32;
    private const int LongLength = 62;

    private static readonly SearchValues<char> HexDigits = SearchValues.Create("0123456789abcdef");

    private readonly string? _value;

    private DeviceUuid(string value) => _value = value;

    /// <summary>Makes a random identity of 32 digits, 128 bits from the system's generator.</summary>
    public static DeviceUuid New() => new(RandomNumberGenerator.GetHexString(Length, lowercase: true));

    /// <summary>Reads an identity. Upper-case digits are not accepted: lower-case first where the source allows both.</summary>
    /// <exception cref="FormatException">The text is not 32 or 62 lower-case hex digits.</exception>
    public static DeviceUuid Parse(ReadOnlySpan<char> s, IFormatProvider? provider) =>
        TryParse(s, provider, out var uuid)
            ? uuid
            : throw new FormatException($"\"{s}\" is not a device uuid: give 32 (or 62) lower-case hex digits.");

    /// <inheritdoc cref="Parse(ReadOnlySpan{char}, IFormatProvider?)"/>
    public static DeviceUuid Parse(string s, IFormatProvider? provider) => Parse(s.AsSpan(), provider);

    /// <inheritdoc cref="Parse(ReadOnlySpan{char}, IFormatProvider?)"/>
    public static DeviceUuid Parse(string s) => Parse(s.AsSpan(), null);

    /// <summary>Reads an identity; false when the text is none.</summary>
    public static bool TryParse(ReadOnlySpan<char> s, IFormatProvider? provider, out DeviceUuid result)
    {
        var valid = IsUuid(s);
        result = valid ? new DeviceUuid(s.ToString()) : default;
        return valid;
    }

    /// <inheritdoc cref="TryParse(ReadOnlySpan{char}, IFormatProvider?, out DeviceUuid)"/>
    public static bool TryParse([NotNullWhen(true)] string? s, IFormatProvider? provider, out DeviceUuid result)
    {
        var valid = IsUuid(s);
        result = valid ? new DeviceUuid(s!) : default;
        return valid;
    }

    private static bool IsUuid(ReadOnlySpan<char> s) => s.Length is Length or LongLength && !s.ContainsAnyExcept(HexDigits);

    /// <summary>The digits.</summary>
    public override string ToString() => _value ?? "";
}
