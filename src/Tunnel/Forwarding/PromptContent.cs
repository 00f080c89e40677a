using System.Net;
using Microsoft.AspNetCore.Http;

namespace Tunnel.Forwarding;

/// <summary>
/// A response's content whose reader sends what it has before it waits: the head of an event stream leaves when the
/// application has written it, and not with the first event. Content that is already here costs nothing more.
/// </summary>
internal sealed class PromptContent(HttpContent inner, HttpResponse response) : HttpContent
{
    protected override async Task<Stream> CreateContentReadStreamAsync() => new PromptStream(await inner.ReadAsStreamAsync(), response);

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => inner.CopyToAsync(stream, context);

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

    private sealed class PromptStream(Stream inner, HttpResponse response) : AsyncStream
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var read = inner.ReadAsync(buffer, cancellationToken);
            return response.HasStarted || read.IsCompleted ? read : SendHeadThenAwait(read, cancellationToken);
        }

        private async ValueTask<int> SendHeadThenAwait(ValueTask<int> read, CancellationToken cancellationToken)
        {
            await response.Body.FlushAsync(cancellationToken);
            return await read;
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                inner.Dispose();
            }

            base.Dispose(disposing);
        }

        public override bool CanRead => true;
    }
}
