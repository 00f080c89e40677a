using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Gateway.Devices;

/// <summary>A domain of a device's own, as the DNS has it: lower case, international letters in their ASCII form (RFC 5890).</summary>
internal readonly record struct DomainName
{
    private static readonly IdnMapping Idn = new() { UseStd3AsciiRules = true };

    private readonly string? _value;

    private DomainName(string value) => _value = value;

    /// <summary>Reads a name; false when it can be none of a device: no wildcard, no address, no single label.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out DomainName name)
    {
        name = default;
        try
        {
            var ascii = Idn.GetAscii((text ?? "").Trim().TrimEnd('.')).ToLowerInvariant();
            if (ascii.Length > 253 || !ascii.Contains('.', StringComparison.Ordinal) || Uri.CheckHostName(ascii) != UriHostNameType.Dns
                || !char.IsAsciiLetter(ascii[ascii.LastIndexOf('.') + 1]))
            {
                return false;
            }

            name = new DomainName(ascii);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    public override string ToString() => _value ?? "";
}
