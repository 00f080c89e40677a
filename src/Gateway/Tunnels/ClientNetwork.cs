using System.Net;
using System.Net.Sockets;

namespace Gateway.Tunnels;

/// <summary>What counts as one client where clients are counted.</summary>
internal static class ClientNetwork
{
    /// <summary>An IPv4 address, or the /64 of an IPv6 address: a subscriber's network is at least that large (RFC 6177).</summary>
    public static IPAddress Of(IPAddress? address)
    {
        if (address is null)
        {
            return IPAddress.None;
        }

        if (address.IsIPv4MappedToIPv6)
        {
            return address.MapToIPv4();
        }

        if (address.AddressFamily != AddressFamily.InterNetworkV6)
        {
            return address;
        }

        var bytes = address.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes);
    }
}
