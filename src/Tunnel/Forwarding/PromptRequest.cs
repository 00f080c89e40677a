using System.Net;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Tunnel.Forwarding;

/// <summary>
/// A request's content that leaves as it arrives: before the forwarder waits for more of it, what it has is sent. The
/// counterpart of <see cref="PromptContent"/>; an upload that comes in small pieces reaches the application in them.
/// </summary>
public static class PromptRequest
{
    private static readonly HttpMessageHandler Nobody = new SocketsHttpHandler();

    /// <summary>To be called before the forwarder takes the request's body.</summary>
    /// <returns>The client to forward with: the given one, if the request has no body.</returns>
    public static HttpMessageInvoker Prepare(HttpContext context, HttpMessageInvoker invoker)
    {
        if (context.Features.Get<IHttpRequestBodyDetectionFeature>() is not { CanHaveBody: true })
        {
            return invoker;
        }

        var body = new Body(context.Request.Body);
        context.Request.Body = body;
        return new Invoker(invoker, body);
    }

    // The forwarder does not let a transformer replace the content that it made; on its way out it can be.
    private sealed class Invoker(HttpMessageInvoker inner, Body body) : HttpMessageInvoker(Nobody, disposeHandler: false)
    {
        public override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (request.Content is { } content)
            {
                request.Content = new Content(content, body);
                foreach (var (name, values) in content.Headers.NonValidated)
                {
                    request.Content.Headers.TryAddWithoutValidation(name, values);
                }
            }

            return inner.SendAsync(request, cancellationToken);
        }
    }

    private sealed class Content(HttpContent inner, Body body) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            body.Outgoing = stream;
            return inner.CopyToAsync(stream, context, cancellationToken);
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

    private sealed class Body(Stream inner) : Stream
    {
        public Stream? Outgoing { get; set; }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = inner.ReadAsync(buffer, cancellationToken);
            return Outgoing is null || read.IsCompleted ? read : SendThenAwaitAsync(Outgoing, read, cancellationToken);
        }

        private static async ValueTask<int> SendThenAwaitAsync(Stream outgoing, ValueTask<int> read, CancellationToken cancellationToken)
        {
            await outgoing.FlushAsync(cancellationToken);
            return await read;
        }

        public override bool CanRead => true;
        public override bool CanWrite => false;
        public override bool CanSeek => false;
        public override long Length => throw new NotSupportedException();
        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }
        public override void Flush() => throw new NotSupportedException();
        public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);
        public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
            ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();
        public override void SetLength(long value) => throw new NotSupportedException();
        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
