using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Net;

namespace Gateway.Cluster;

/// <summary>Where a node's inner listener is reached: <c>10.0.0.5:8443</c>, <c>[2001:db8::5]:8443</c>, <c>gateway-1.gateway:8443</c>.</summary>
internal sealed record NodeAddress(DnsEndPoint EndPoint)
{
    public static bool TryParse(string? text, [NotNullWhen(true)] out NodeAddress? address)
    {
        address = null;
        var colon = text?.LastIndexOf(':') ?? -1;
        if (colon <= 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
        {
            return false;
        }

        var host = text![..colon];
        host = host is ['[', .., ']'] ? host[1..^1] : host;
        if (Uri.CheckHostName(host) is UriHostNameType.Unknown or UriHostNameType.Basic)
        {
            return false;
        }

        address = new NodeAddress(new DnsEndPoint(host, port));
        return true;
    }

    public override string ToString() =>
        EndPoint.Host.Contains(':', StringComparison.Ordinal) ? $"[{EndPoint.Host}]:{EndPoint.Port}" : $"{EndPoint.Host}:{EndPoint.Port}";
}
