using System.Globalization;
using System.Net.Mime;
using System.Text.Encodings.Web;
using System.Text.Json;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Net.Http.Headers;

namespace Gateway.Edge;

/// <summary>Tells a visitor why: a page for browsers, a problem document (RFC 9457) for programs, by <c>Accept</c>.</summary>
internal static class FailureResponse
{
    /// <summary>The problem's type is this and the reason; docs/failures.md explains each.</summary>
    public const string TypePrefix = "urn:device-gateway:problem:";

    private static readonly string PageTemplate = ReadTemplate();

    public static Task WriteAsync(HttpContext context, Failure failure, GatewayMetrics metrics)
    {
        metrics.Failed(failure.Reason);
        context.Features.Get<VisitNotes>()?.Failure = failure.Reason;
        var response = context.Response;
        if (response.HasStarted)
        {
            context.Abort();
            return Task.CompletedTask;
        }

        response.Clear();
        response.StatusCode = failure.Status;
        response.Headers["Proxy-Status"] = $"gateway; error={failure.ProxyError}";
        response.Headers.CacheControl = "no-store";
        response.Headers.Vary = HeaderNames.Accept;
        response.Headers.XContentTypeOptions = "nosniff";
        if (failure.RetryAfter is { } seconds)
        {
            response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        }

        if (failure.Status == StatusCodes.Status405MethodNotAllowed)
        {
            response.Headers.Allow = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        }

        byte[] body;
        if (PrefersHtml(context.Request))
        {
            response.ContentType = "text/html; charset=utf-8";
            response.Headers.ContentSecurityPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
            body = Page(failure);
        }
        else
        {
            response.ContentType = MediaTypeNames.Application.ProblemJson;
            body = JsonSerializer.SerializeToUtf8Bytes(new ProblemDetails
            {
                Type = TypePrefix + failure.Reason,
                Title = failure.Title,
                Status = failure.Status,
                Detail = failure.Detail,
            });
        }

        response.ContentLength = body.Length;
        return HttpMethods.IsHead(context.Request.Method) ? Task.CompletedTask : response.Body.WriteAsync(body, context.RequestAborted).AsTask();
    }

    // Browsers name text/html; programs take anything (*/*) or JSON, and get what they can read.
    private static bool PrefersHtml(HttpRequest request)
    {
        foreach (var accepted in request.GetTypedHeaders().Accept)
        {
            if (accepted.MediaType.Equals("text/html", StringComparison.OrdinalIgnoreCase))
            {
                return accepted.Quality is not 0;
            }

            if (accepted.MediaType.EndsWith("json", StringComparison.OrdinalIgnoreCase))
            {
                return false;
            }
        }

        return false;
    }

    private static byte[] Page(Failure failure)
    {
        var refresh = failure.RetryAfter is { } seconds ? string.Create(CultureInfo.InvariantCulture, $"<meta http-equiv=\"refresh\" content=\"{seconds}\">") : "";
        return System.Text.Encoding.UTF8.GetBytes(PageTemplate
            .Replace("{refresh}", refresh, StringComparison.Ordinal)
            .Replace("{status}", failure.Status.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal)
            .Replace("{reason}", failure.Reason, StringComparison.Ordinal)
            .Replace("{title}", HtmlEncoder.Default.Encode(failure.Title), StringComparison.Ordinal)
            .Replace("{detail}", HtmlEncoder.Default.Encode(failure.Detail), StringComparison.Ordinal));
    }

    private static string ReadTemplate()
    {
        using var stream = typeof(FailureResponse).Assembly.GetManifestResourceStream("Gateway.Edge.FailurePage.html")!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
