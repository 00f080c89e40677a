using System.Net;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Tunnel.Forwarding;

/// <summary>
/// Forwards a request's content as it arrives, the counterpart of <see cref="PromptContent"/>: an upload that comes in small
/// pieces reaches the application in them. It ends without a fault when the answer is complete before it and the
/// application asks for no more (RFC 9113 section 8.1).
/// </summary>
public static class PromptRequest
{
    private static readonly HttpMessageHandler Nobody = new SocketsHttpHandler();

    /// <summary>Whether a content may follow the request's head.</summary>
    public static bool MayHaveContent(HttpContext context) =>
        context.Features.Get<IHttpRequestBodyDetectionFeature>() is { CanHaveBody: true };

    /// <summary>Whether the whole request could be forwarded once more: it has no content, or nothing of it was read.</summary>
    public static bool IsWhole(HttpContext context) => !MayHaveContent(context) || context.Request.Body is not UploadBody { HasBeenRead: true };

    /// <summary>To be called before the forwarder takes the request's body.</summary>
    /// <param name="context">The request to be forwarded.</param>
    /// <param name="invoker">The client to forward with, over HTTP/2.</param>
    /// <param name="progressed">Is called for each part of the content that has arrived.</param>
    /// <param name="backlog">Is told when the content waits for the server.</param>
    /// <returns>The client to forward with: the given one, if the request has no content.</returns>
    public static HttpMessageInvoker Prepare(HttpContext context, HttpMessageInvoker invoker, Action? progressed = null, IBacklog? backlog = null)
    {
        if (!MayHaveContent(context))
        {
            return invoker;
        }

        // At a second attempt the body of the first one is there, and may have been ended.
        var body = new UploadBody(context.Request.Body is UploadBody { HasBeenRead: false } former ? former.Reader : context.Request.BodyReader, progressed);
        context.Request.Body = body;
        context.Response.RegisterForDispose(body);
        return new Invoker(invoker, body, backlog);
    }

    // The forwarder does not let a transformer replace the content that it made; on its way out it can be.
    private sealed class Invoker(HttpMessageInvoker inner, UploadBody body, IBacklog? backlog) : HttpMessageInvoker(Nobody, disposeHandler: false)
    {
        public override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (request.Content is { } content)
            {
                request.Content = new Content(content, body, backlog);
                foreach (var (name, values) in content.Headers.NonValidated)
                {
                    request.Content.Headers.TryAddWithoutValidation(name, values);
                }
            }

            return inner.SendAsync(request, cancellationToken);
        }
    }

    private sealed class Content(HttpContent inner, UploadBody body, IBacklog? backlog) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        // The client cancels when the exchange is over: with an error, which its caller sees, or because the answer is
        // complete and the other side reads no more. The latter is no fault of this content.
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            body.Outgoing = stream;
            await using var over = cancellationToken.UnsafeRegister(static body => ((UploadBody)body!).End(), body);
            await inner.CopyToAsync(backlog is null ? stream : new Outgoing(stream, backlog), context, CancellationToken.None);
            cancellationToken.ThrowIfCancellationRequested();
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
            }

            base.Dispose(disposing);
        }
    }

    /// <summary>Where the content goes: tells when a part of it waits.</summary>
    private sealed class Outgoing(Stream inner, IBacklog backlog) : AsyncStream
    {
        public override bool CanWrite => true;

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var writing = inner.WriteAsync(buffer, cancellationToken);
            return writing.IsCompleted ? writing : WaitAsync(writing);
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

        private async ValueTask WaitAsync(ValueTask writing)
        {
            backlog.RequestWaits();
            try
            {
                await writing;
            }
            finally
            {
                backlog.RequestTaken();
            }
        }
    }
}
