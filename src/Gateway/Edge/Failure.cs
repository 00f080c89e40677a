using System.Collections.Frozen;

namespace Gateway.Edge;

/// <summary>
/// Why a visitor gets an answer of the gateway and not of the application. Every reason has one name, everywhere: in the
/// problem document (RFC 9457), on the page, in the metrics and in docs/failures.md.
/// </summary>
/// <param name="Reason">The name: the last part of the problem's <c>type</c>.</param>
/// <param name="Status">The status code (RFC 9110 section 15).</param>
/// <param name="ProxyError">The error type of <c>Proxy-Status</c> (RFC 9209 section 2.3).</param>
/// <param name="Title">For people: what happened.</param>
/// <param name="Detail">For people: what they can do.</param>
/// <param name="RetryAfter">Seconds after which it may be different; null where waiting does not help.</param>
internal sealed record Failure(string Reason, int Status, string ProxyError, string Title, string Detail, int? RetryAfter = null)
{
    /// <summary>An unknown device, a disabled one and a host that is none: one answer, so that nobody learns which uuids exist.</summary>
    public static readonly Failure NotFound = new(
        "device-not-found", StatusCodes.Status404NotFound, "destination_not_found",
        "There is no device at this address",
        "The device does not exist, or its public URL is switched off. If the device is yours, switch the URL on.");

    public static readonly Failure Offline = new(
        "device-offline", StatusCodes.Status503ServiceUnavailable, "destination_unavailable",
        "The device is offline",
        "It has no connection to the gateway at the moment. This page tries again by itself.", RetryAfter: 5);

    public static readonly Failure NothingListens = new(
        "nothing-listens", StatusCodes.Status502BadGateway, "connection_refused",
        "The device is online, but nothing listens there",
        "No web server answers on the device's port. If the device is yours, start the application, or look at its log. This page tries again by itself.", RetryAfter: 5);

    public static readonly Failure AppBroken = new(
        "application-failed", StatusCodes.Status502BadGateway, "connection_terminated",
        "The application on the device did not answer properly",
        "It ended the connection, or what it sent was no valid HTTP. If the device is yours, look at the application's log.");

    public static readonly Failure TunnelLost = new(
        "tunnel-lost", StatusCodes.Status502BadGateway, "connection_terminated",
        "The connection to the device was lost",
        "It ended while the request was under way; whether the application has seen the request is not known.", RetryAfter: 5);

    public static readonly Failure NodeUnreachable = new(
        "node-unreachable", StatusCodes.Status502BadGateway, "destination_unavailable",
        "The part of the gateway that holds the device's connection cannot be reached",
        "Nothing of the request has reached the device. This page tries again by itself.", RetryAfter: 5);

    public static readonly Failure AppTimeout = new(
        "application-timeout", StatusCodes.Status504GatewayTimeout, "http_response_timeout",
        "The application on the device did not answer in time",
        "The request has reached the device, but no answer came within the gateway's limit.");

    public static readonly Failure DeviceUnreachable = new(
        "device-timeout", StatusCodes.Status504GatewayTimeout, "connection_timeout",
        "The application on the device could not be reached in time",
        "The device is online, but its application did not accept a connection.", RetryAfter: 5);

    public static readonly Failure StoreUnavailable = new(
        "store-unavailable", StatusCodes.Status503ServiceUnavailable, "proxy_internal_error",
        "The gateway cannot look the device up at the moment",
        "Its store does not answer. This page tries again by itself.", RetryAfter: 5);

    public static readonly Failure TooManyRequests = new(
        "too-many-requests", StatusCodes.Status429TooManyRequests, "http_request_denied",
        "Too many requests from your address", "Others share the gateway. This page tries again by itself.", RetryAfter: 2);

    public static readonly Failure DeviceBusy = new(
        "device-busy", StatusCodes.Status503ServiceUnavailable, "connection_limit_reached",
        "The device has as many visitors as it can have", "This page tries again by itself.", RetryAfter: 2);

    public static readonly Failure Overloaded = new(
        "overloaded", StatusCodes.Status503ServiceUnavailable, "proxy_internal_error",
        "The gateway is overloaded", "It takes no new requests for a moment, so that it can finish those that it has. This page tries again by itself.", RetryAfter: 5);

    public static readonly Failure BadRequest = new(
        "bad-request", StatusCodes.Status400BadRequest, "http_request_error",
        "The request is not valid HTTP", "It was refused and not passed on.");

    public static readonly Failure MethodNotAllowed = new(
        "method-not-allowed", StatusCodes.Status405MethodNotAllowed, "http_request_error",
        "CONNECT is not possible here", "A device's address is a web site and no proxy.");

    public static readonly Failure UpgradeNotSupported = new(
        "upgrade-not-supported", StatusCodes.Status501NotImplemented, "http_upgrade_failed",
        "Only WebSocket upgrades can cross the tunnel", "The Upgrade field of the request names another protocol; leave it out, or use WebSocket.");

    public static readonly Failure Internal = new(
        "internal-error", StatusCodes.Status500InternalServerError, "proxy_internal_error",
        "The gateway failed", "This is a fault of the gateway; its operator finds the reason in the log.");

    private static readonly FrozenDictionary<string, Failure> All = new[]
    {
        NotFound, Offline, NothingListens, AppBroken, TunnelLost, NodeUnreachable, AppTimeout, DeviceUnreachable, StoreUnavailable, TooManyRequests, DeviceBusy, Overloaded, BadRequest, MethodNotAllowed, UpgradeNotSupported, Internal,
    }.ToFrozenDictionary(static failure => failure.Reason, StringComparer.Ordinal);

    /// <summary>The failure that another node has named.</summary>
    public static Failure Of(string reason) => All.GetValueOrDefault(reason, Internal);

    /// <summary>The same failure with what exactly is wrong, for people.</summary>
    public Failure Because(string detail) => this with { Detail = detail };

    /// <summary>The same failure with the status that a server's limit asks for (413, 408, 431).</summary>
    public Failure WithStatus(int status) => this with { Status = status };
}
