using System.Net;
using System.Net.Sockets;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>A visitor's address as logs and traces may show it (<c>Telemetry:AccessLog:Addresses</c>).</summary>
internal sealed class VisitorAddresses(VisitorFields fields, IOptionsMonitor<TelemetryOptions> options)
{
    /// <summary>The address; null when it is not to be shown.</summary>
    public IPAddress? Of(HttpContext context) => options.CurrentValue.AccessLog.Addresses switch
    {
        AddressDetail.Full => fields.AddressOf(context),
        AddressDetail.Network => Mask(fields.AddressOf(context)),
        _ => null,
    };

    /// <summary>The first 24 bits of IPv4, or the first 48 of IPv6; the rest is zero.</summary>
    internal static IPAddress Mask(IPAddress address)
    {
        var bytes = address.GetAddressBytes();
        bytes.AsSpan(address.AddressFamily == AddressFamily.InterNetwork ? 3 : 6).Clear();
        return new IPAddress(bytes);
    }
}
