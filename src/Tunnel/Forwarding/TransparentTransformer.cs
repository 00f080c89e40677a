using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;
using Yarp.ReverseProxy.Forwarder;

namespace Tunnel.Forwarding;

/// <summary>
/// What a forwarder owes a message on each hop, and no more: the target crosses byte for byte (RFC 9110 section 7.7), the
/// fields that belong to one connection stay behind (section 7.6.1), and a response's head does not wait for its content.
/// </summary>
public class TransparentTransformer : HttpTransformer
{
    /// <summary>Whether the whole answer has crossed; an error that comes later is none of the visitor's business.</summary>
    public bool HasAnswered { get; private set; }

    /// <inheritdoc/>
    /// <remarks>Answers 400 itself, and forwards nothing, when the request's target is no origin-form (RFC 9112 section 3.2.1).</remarks>
    public override async ValueTask TransformRequestAsync(
        HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
    {
        await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);

        if (!RequestTarget.TryMakeUri(httpContext, destinationPrefix, out var uri))
        {
            httpContext.Response.StatusCode = StatusCodes.Status400BadRequest;
            return;
        }

        proxyRequest.RequestUri = uri;
        foreach (var name in NamedByConnection(httpContext.Request.Headers.Connection))
        {
            proxyRequest.Headers.Remove(name);
            proxyRequest.Content?.Headers.Remove(name);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask<bool> TransformResponseAsync(
        HttpContext httpContext, HttpResponseMessage? proxyResponse, CancellationToken cancellationToken)
    {
        if (!await base.TransformResponseAsync(httpContext, proxyResponse, cancellationToken))
        {
            return false;
        }

        if (proxyResponse!.Headers.NonValidated.TryGetValues(HeaderNames.Connection, out var connection))
        {
            foreach (var name in NamedByConnection(connection.ToString()))
            {
                httpContext.Response.Headers.Remove(name);
            }
        }

        if (!IsUpgrade(proxyResponse))
        {
            proxyResponse.Content = new PromptContent(proxyResponse.Content, httpContext.Response);
        }

        return true;
    }

    /// <inheritdoc/>
    public override async ValueTask TransformResponseTrailersAsync(
        HttpContext httpContext, HttpResponseMessage proxyResponse, CancellationToken cancellationToken)
    {
        await base.TransformResponseTrailersAsync(httpContext, proxyResponse, cancellationToken);

        // The answer is complete, whatever the request's content still does.
        HasAnswered = true;
        if (PromptRequest.MayHaveContent(httpContext))
        {
            await httpContext.Response.CompleteAsync();
        }
    }

    /// <summary>True for an answer that turns the exchange into a stream of bytes: 101, or 200 to an extended CONNECT (RFC 8441).</summary>
    protected static bool IsUpgrade(HttpResponseMessage response) =>
        response.StatusCode == System.Net.HttpStatusCode.SwitchingProtocols || response.RequestMessage?.Method == HttpMethod.Connect;

    // "Connection: close, x-internal" makes x-internal a field of this connection. What frames or routes the message
    // cannot be wished away by naming it (RFC 9110 section 7.6.1).
    private static IEnumerable<string> NamedByConnection(StringValues connection)
    {
        if (StringValues.IsNullOrEmpty(connection))
        {
            yield break;
        }

        foreach (var name in connection.ToString().Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            if (!IsKept(name))
            {
                yield return name;
            }
        }
    }

    private static bool IsKept(string name) =>
        Is(name, "close") || Is(name, "keep-alive") || Is(name, HeaderNames.Upgrade) || Is(name, HeaderNames.Host)
        || Is(name, HeaderNames.ContentLength) || Is(name, HeaderNames.ContentType) || name.AsSpan().ContainsAny(" \t\":;");

    private static bool Is(string name, string other) => name.Equals(other, StringComparison.OrdinalIgnoreCase);
}
