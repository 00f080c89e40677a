using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Gateway.Listeners;

/// <summary>Where a listener binds: <c>*:8080</c>, <c>127.0.0.1:8080</c>, <c>[::1]:8080</c> or <c>unix:/run/gateway.sock</c>.</summary>
internal readonly record struct ListenAddress
{
    private const string UnixPrefix = "unix:";

    private readonly string? _unixPath;
    private readonly IPEndPoint? _endPoint;
    private readonly int _anyPort;

    private ListenAddress(string? unixPath, IPEndPoint? endPoint, int anyPort) => (_unixPath, _endPoint, _anyPort) = (unixPath, endPoint, anyPort);

    /// <summary>The address and port, <c>*</c> as the IPv6 address that stands for all; null for a Unix domain socket.</summary>
    public IPEndPoint? EndPoint => _unixPath is not null ? null : _endPoint ?? new IPEndPoint(IPAddress.IPv6Any, _anyPort);

    public static bool TryParse(string text, out ListenAddress address)
    {
        address = default;
        if (text.StartsWith(UnixPrefix, StringComparison.Ordinal))
        {
            address = new ListenAddress(text[UnixPrefix.Length..], null, 0);
            return text.Length > UnixPrefix.Length;
        }

        if (text.StartsWith("*:", StringComparison.Ordinal))
        {
            var valid = ushort.TryParse(text.AsSpan(2), NumberStyles.None, CultureInfo.InvariantCulture, out var port);
            address = new ListenAddress(null, null, port);
            return valid;
        }

        // IPEndPoint takes an address without a port for port 0; here the port must be said.
        if (text.LastIndexOf(':') <= text.LastIndexOf(']') || text.IndexOf(':', StringComparison.Ordinal) != text.LastIndexOf(':') && !text.StartsWith('[')
            || !IPEndPoint.TryParse(text, out var endPoint))
        {
            return false;
        }

        address = new ListenAddress(null, endPoint, 0);
        return true;
    }

    public void Bind(KestrelServerOptions kestrel, Action<ListenOptions> configure)
    {
        if (_unixPath is not null)
        {
            kestrel.ListenUnixSocket(_unixPath, configure);
        }
        else if (_endPoint is not null)
        {
            kestrel.Listen(_endPoint, configure);
        }
        else
        {
            kestrel.Listen(Socket.OSSupportsIPv6 ? IPAddress.IPv6Any : IPAddress.Any, _anyPort, configure);
        }
    }
}
