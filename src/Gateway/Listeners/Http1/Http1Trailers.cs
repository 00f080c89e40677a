using System.Globalization;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Tunnel.Forwarding;

namespace Gateway.Listeners.Http1;

/// <summary>
/// Gives an HTTP/1.1 client that said <c>TE: trailers</c> (RFC 9110 section 10.1.4) the trailers of its answer, which the
/// server sends over HTTP/2 only: the chunked coding that carries them (RFC 9112 section 7.1.2) is written here.
/// </summary>
internal static class Http1Trailers
{
    public static IApplicationBuilder UseHttp1Trailers(this IApplicationBuilder app) => app.Use(static (context, next) =>
        context.Request.Headers.TE.Count > 0 && HttpProtocol.IsHttp11(context.Request.Protocol)
        && context.Request.Headers.TE.ToString().Contains("trailers", StringComparison.OrdinalIgnoreCase)
            ? ServeAsync(context, next)
            : next(context));

    private static async Task ServeAsync(HttpContext context, RequestDelegate next)
    {
        var inner = context.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
        var trailers = new TrailersFeature();
        var body = new ChunkedStream(inner.Stream, context);
        context.Features.Set<IHttpResponseTrailersFeature>(trailers);
        context.Features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(body, inner));
        try
        {
            await next(context);
            await context.Response.CompleteAsync();
            await body.EndAsync(trailers.Trailers);
        }
        finally
        {
            context.Features.Set(inner);
        }
    }

    private sealed class TrailersFeature : IHttpResponseTrailersFeature
    {
        public IHeaderDictionary Trailers { get; set; } = new HeaderDictionary();
    }

    /// <summary>Writes chunks, once it is clear that the answer has a content of unknown length.</summary>
    private sealed class ChunkedStream(Stream inner, HttpContext context) : AsyncStream
    {
        private bool? _chunked;

        public async Task EndAsync(IHeaderDictionary trailers)
        {
            if (!IsChunked() || context.RequestAborted.IsCancellationRequested)
            {
                return;
            }

            var end = new StringBuilder("0\r\n");
            foreach (var (name, values) in trailers)
            {
                foreach (var value in values)
                {
                    end.Append(name).Append(": ").Append(value).Append("\r\n");
                }
            }

            await inner.WriteAsync(Encoding.Latin1.GetBytes(end.Append("\r\n").ToString()), context.RequestAborted);
        }

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (!IsChunked())
            {
                await inner.WriteAsync(buffer, cancellationToken);
            }
            else if (!buffer.IsEmpty)
            {
                await inner.WriteAsync(Encoding.ASCII.GetBytes(buffer.Length.ToString("x", CultureInfo.InvariantCulture) + "\r\n"), cancellationToken);
                await inner.WriteAsync(buffer, cancellationToken);
                await inner.WriteAsync("\r\n"u8.ToArray(), cancellationToken);
            }
        }

        public override Task FlushAsync(CancellationToken cancellationToken)
        {
            _ = IsChunked();
            return inner.FlushAsync(cancellationToken);
        }

        // An application that frames its answer itself is left alone by the server.
        private bool IsChunked()
        {
            if (_chunked is null)
            {
                var response = context.Response;
                _chunked = !response.HasStarted && response.ContentLength is null && response.Headers.TransferEncoding.Count == 0
                    && response.StatusCode is >= 200 and not StatusCodes.Status204NoContent and not StatusCodes.Status205ResetContent and not StatusCodes.Status304NotModified
                    && !HttpMethods.IsHead(context.Request.Method);
                if (_chunked == true)
                {
                    response.Headers.TransferEncoding = "chunked";
                }
            }

            return _chunked.Value;
        }

        public override bool CanWrite => true;
    }
}
