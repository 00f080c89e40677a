using System.Diagnostics.CodeAnalysis;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Tunnel.Forwarding;

/// <summary>The path and query of a request as the sender wrote them.</summary>
internal static class RequestTarget
{
    private static readonly UriCreationOptions Verbatim = new() { DangerousDisablePathAndQueryCanonicalization = true };

    /// <summary>Joins the destination with the untouched target; false when the target is none that can be forwarded.</summary>
    public static bool TryMakeUri(HttpContext context, string destinationPrefix, [NotNullWhen(true)] out Uri? uri)
    {
        var target = OriginForm(context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget);
        if (target is not ['/', ..])
        {
            uri = null;
            return false;
        }

        return Uri.TryCreate(destinationPrefix + target, Verbatim, out uri);
    }

    // absolute-form (RFC 9112 section 3.2.2): "http://host/path" -> "/path"; an empty path is "/" (RFC 9110 section 4.2.3).
    private static string OriginForm(string target)
    {
        if (target is ['/', ..])
        {
            return target;
        }

        var authority = target.IndexOf("://", StringComparison.Ordinal);
        if (authority < 0)
        {
            return target;
        }

        var end = target.AsSpan(authority + 3).IndexOfAny('/', '?');
        if (target.AsSpan(authority + 3, end < 0 ? target.Length - authority - 3 : end).Contains('@'))
        {
            return target; // user information hides where a URI leads (RFC 9110 section 4.2.4)
        }

        if (end < 0)
        {
            return "/";
        }

        var rest = target[(authority + 3 + end)..];
        return rest[0] == '/' ? rest : "/" + rest;
    }
}
