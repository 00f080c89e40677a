using System.Buffers;
using System.Diagnostics;
using System.Net;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>
/// What the device is told of its visitor: <c>X-Forwarded-For</c>, <c>-Proto</c> and <c>-Host</c>, <c>Forwarded</c>
/// (RFC 7239) and <c>traceparent</c> (W3C Trace Context). What a visitor says of itself in them is dropped, unless it is
/// a proxy that the operator trusts.
/// </summary>
internal sealed class VisitorFields(IOptions<EdgeOptions> options)
{
    private const string ForwardedPrefix = "X-Forwarded-";
    private const string For = "X-Forwarded-For";
    private const string Proto = "X-Forwarded-Proto";
    private const string TraceParent = "traceparent";

    private static readonly SearchValues<char> TokenCharacters = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_");

    private readonly IPNetwork[] _trusted = [.. options.Value.TrustedProxies.Select(static text => IPNetwork.Parse(text))];

    /// <summary>The networks of trusted proxies.</summary>
    public IReadOnlyList<IPNetwork> Trusted => _trusted;

    /// <summary>Who asks: the peer, or whom a trusted proxy names last.</summary>
    public IPAddress AddressOf(HttpContext context)
    {
        var address = Normalize(context.Connection.RemoteIpAddress);
        if (IsTrusted(address) && context.Request.Headers[For].ToString() is { Length: > 0 } said
            && IPAddress.TryParse(said.AsSpan(said.LastIndexOf(',') + 1).Trim(), out var named))
        {
            return Normalize(named);
        }

        return address;
    }

    /// <summary>Whether the connection is that of a trusted proxy, who brings many visitors.</summary>
    public bool IsFromProxy(HttpContext context) => _trusted.Length > 0 && IsTrusted(Normalize(context.Connection.RemoteIpAddress));

    /// <summary>Whether the visitor came with TLS: to the gateway itself, or to a trusted proxy before it.</summary>
    public bool IsSecure(HttpContext context) =>
        context.Request.IsHttps || (context.Request.Headers[Proto] == "https" && IsTrusted(Normalize(context.Connection.RemoteIpAddress)));

    public void Write(HttpContext context, HttpRequestMessage request)
    {
        var address = Normalize(context.Connection.RemoteIpAddress);
        var proto = context.Request.IsHttps ? "https" : "http";
        var host = context.Request.Host.Value ?? "";
        var chain = address.ToString();
        if (IsTrusted(address))
        {
            var before = context.Request.Headers[For].ToString();
            chain = before.Length > 0 ? $"{before}, {chain}" : chain;
            var said = context.Request.Headers[Proto].ToString();
            proto = said is "https" or "http" ? said : proto;
        }

        var fields = request.Headers;
        Drop(request);
        fields.TryAddWithoutValidation(For, chain);
        fields.TryAddWithoutValidation(Proto, proto);
        fields.TryAddWithoutValidation("X-Forwarded-Host", host);
        fields.TryAddWithoutValidation("Forwarded", $"{ForElements(chain)};host={Quote(host)};proto={proto}");
        WriteTrace(context, request);
    }

    /// <summary>Makes what comes next a child of the current span (W3C Trace Context); false when there is none.</summary>
    public static bool TryPassSpan(HttpRequestMessage request)
    {
        if (Activity.Current is not { IdFormat: ActivityIdFormat.W3C, Id: { } traceparent } activity)
        {
            return false;
        }

        request.Headers.Remove(TraceParent);
        request.Headers.Remove("tracestate");
        request.Headers.TryAddWithoutValidation(TraceParent, traceparent);
        if (activity.TraceStateString is { Length: > 0 } state)
        {
            request.Headers.TryAddWithoutValidation("tracestate", state);
        }

        return true;
    }

    // Of a traced request the device sees the gateway's span; of another one what the visitor said, or a trace of its own,
    // so that an application's log always has one to name.
    private static void WriteTrace(HttpContext context, HttpRequestMessage request)
    {
        if (TryPassSpan(request))
        {
            return;
        }

        if (context.Request.Headers[TraceParent] is not [{ } given] || !ActivityContext.TryParse(given, null, out var visitors))
        {
            // Not sampled: nobody records it here.
            request.Headers.Remove(TraceParent);
            request.Headers.Remove("tracestate");
            request.Headers.TryAddWithoutValidation(TraceParent, $"00-{ActivityTraceId.CreateRandom()}-{ActivitySpanId.CreateRandom()}-00");
        }
        else if (GatewayTracing.Source.HasListeners() && visitors.TraceFlags != ActivityTraceFlags.None)
        {
            // Who traces decides what is recorded: other nodes and the agent take this gateway's word for it, not the visitor's.
            request.Headers.Remove(TraceParent);
            request.Headers.TryAddWithoutValidation(TraceParent, $"00-{visitors.TraceId}-{visitors.SpanId}-00");
        }
    }

    private bool IsTrusted(IPAddress address)
    {
        foreach (var network in _trusted)
        {
            if (network.Contains(address))
            {
                return true;
            }
        }

        return false;
    }

    private static void Drop(HttpRequestMessage request)
    {
        List<string>? dropped = null;
        foreach (var (name, _) in request.Headers.NonValidated)
        {
            if (name.StartsWith(ForwardedPrefix, StringComparison.OrdinalIgnoreCase) || name.Equals("Forwarded", StringComparison.OrdinalIgnoreCase)
                || name.Equals("X-Real-IP", StringComparison.OrdinalIgnoreCase))
            {
                (dropped ??= []).Add(name);
            }
        }

        dropped?.ForEach(name => request.Headers.Remove(name));
    }

    // for=192.0.2.1, for="[2001:db8::1]" (RFC 7239 section 6.1)
    private static string ForElements(string chain) =>
        !chain.Contains(',', StringComparison.Ordinal) ? ForElement(chain)
        : string.Join(", ", chain.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(ForElement));

    private static string ForElement(string node) =>
        node.Contains(':', StringComparison.Ordinal) && IPAddress.TryParse(node, out _) ? $"for=\"[{node}]\"" : $"for={Quote(node)}";

    // token, or quoted-string where a character is none of a token (RFC 9110 section 5.6.4)
    private static string Quote(string value) =>
        value.Length > 0 && !value.AsSpan().ContainsAnyExcept(TokenCharacters)
            ? value
            : $"\"{value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    private static IPAddress Normalize(IPAddress? address) =>
        address is null ? IPAddress.Loopback : address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}
