using Microsoft.AspNetCore.Mvc;

namespace Gateway.Tunnels;

/// <summary>A refusal to a device: a problem document (RFC 9457) and the end of the connection.</summary>
internal static class TunnelRefusal
{
    public static Task WriteAsync(HttpContext context, int status, string detail)
    {
        context.Response.StatusCode = status;
        context.Response.Headers.CacheControl = "no-store";
        if (!HttpProtocol.IsHttp2(context.Request.Protocol))
        {
            context.Response.Headers.Connection = "close";
        }

        return context.Response.WriteAsJsonAsync(
            new ProblemDetails { Status = status, Detail = detail, Title = "No tunnel" }, options: null, contentType: "application/problem+json");
    }
}
