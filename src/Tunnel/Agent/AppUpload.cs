using System.Buffers;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Tunnel.Forwarding;

namespace Tunnel.Agent;

/// <summary>
/// Sends one request that the application may execute no more than once, on a connection of its own: the client repeats
/// requests when a kept connection ends under them, which is harmless for safe methods only (RFC 9110 section 9.2.2).
/// <para>
/// The answer is read while the content is still being sent: an application may refuse an upload before it has read it, or
/// answer piece by piece (RFC 9112 section 9.5). The platform's client reads no HTTP/1.1 answer before it has sent the whole
/// content, so here it sends the head only, and the content goes past it.
/// </para>
/// </summary>
internal sealed class AppUpload : HttpMessageInvoker
{
    private readonly UploadBody? _body;
    private AppConnection? _connection;
    private int _connections;

    private AppUpload(SocketsHttpHandler handler, UploadBody? body)
        : base(handler)
    {
        _body = body;
        handler.PooledConnectionLifetime = TimeSpan.Zero;
        handler.ConnectCallback = ConnectAsync;
        handler.PlaintextStreamFilter = (context, _) =>
            ValueTask.FromResult(_connection?.Over(context.PlaintextStream) ?? context.PlaintextStream);
    }

    /// <summary>To be called before the forwarder takes the request's body.</summary>
    public static AppUpload Create(HttpContext context, SocketsHttpHandler handler)
    {
        if (!PromptRequest.MayHaveContent(context))
        {
            return new AppUpload(handler, null);
        }

        var body = new UploadBody(context.Request.BodyReader, null);
        context.Request.Body = body;
        return new AppUpload(handler, body);
    }

    public override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        if (request.Content is { } content && _body is not null)
        {
            _connection = new AppConnection(_body, content.Headers.ContentLength);
            request.Content = new Content(content, _connection);
            foreach (var (name, values) in content.Headers.NonValidated)
            {
                if (!name.Equals("Content-Length", StringComparison.OrdinalIgnoreCase))
                {
                    request.Content.Headers.TryAddWithoutValidation(name, values);
                }
            }

            request.Headers.TransferEncodingChunked = true;
        }

        return base.SendAsync(request, cancellationToken);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _body?.Dispose();
        }

        base.Dispose(disposing);
    }

    private async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        if (Interlocked.Increment(ref _connections) > 1)
        {
            throw new HttpRequestException(HttpRequestError.ResponseEnded, "The application ended the connection; the request is not repeated.");
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(context.DnsEndPoint, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>For the client it is written at once; in truth the writing begins.</summary>
    private sealed class Content(HttpContent inner, AppConnection connection) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            connection.BeginUpload(inner, context);
            return Task.CompletedTask;
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    /// <summary>
    /// The connection to the application: the client's writes end after the head, and the content's begin.
    /// </summary>
    /// <param name="body">The content's source.</param>
    /// <param name="contentLength">Its length in bytes; null: it is sent in chunks (RFC 9112 section 7.1).</param>
    private sealed class AppConnection(UploadBody body, long? contentLength) : AsyncStream
    {
        private static readonly byte[] ChunkedLine = "\r\nTransfer-Encoding: chunked\r\n"u8.ToArray();

        private readonly TaskCompletionSource _headSent = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly ArrayBufferWriter<byte> _head = new(1024);
        private Stream _wire = Null;
        private Task _uploading = Task.CompletedTask;

        private bool HasLength => contentLength is not null;

        public AppConnection Over(Stream wire)
        {
            _wire = wire;
            return this;
        }

        /// <summary>Starts to send the content, after the head.</summary>
        public void BeginUpload(HttpContent content, TransportContext? context) => _uploading = UploadAsync(content, context);

        private async Task UploadAsync(HttpContent content, TransportContext? context)
        {
            try
            {
                await content.CopyToAsync(new ContentWriter(this), context, CancellationToken.None);
                if (contentLength is null)
                {
                    await SendAsync("0\r\n\r\n"u8.ToArray(), CancellationToken.None);
                }
            }
            catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException or HttpRequestException)
            {
                // The visitor's upload broke off, and the forwarder knows. The application must not take a part for the whole.
                await _wire.DisposeAsync();
            }
        }

        private async ValueTask SendChunkAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
        {
            var size = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{data.Length:x}\r\n"));
            var length = size.Length + data.Length + 2;
            var chunk = ArrayPool<byte>.Shared.Rent(length);
            try
            {
                size.CopyTo(chunk, 0);
                data.CopyTo(chunk.AsMemory(size.Length));
                "\r\n"u8.CopyTo(chunk.AsSpan(size.Length + data.Length));
                await SendAsync(chunk.AsMemory(0, length), cancellationToken);
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(chunk);
            }
        }

        // When the application takes no more, the content ends, and its answer tells why.
        private async ValueTask SendAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
        {
            await _headSent.Task.WaitAsync(cancellationToken);
            try
            {
                if (!body.HasEnded)
                {
                    await _wire.WriteAsync(bytes, cancellationToken);
                }
            }
            catch (IOException)
            {
                body.End();
            }
        }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _wire.ReadAsync(buffer, cancellationToken);

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_headSent.Task.IsCompleted)
            {
                return;
            }

            _head.Write(buffer.Span);
            var end = _head.WrittenSpan.IndexOf("\r\n\r\n"u8);
            if (end >= 0)
            {
                await _wire.WriteAsync(WithLength(_head.WrittenMemory[..(end + 4)]), cancellationToken);
                _headSent.SetResult();
            }
        }

        // The client knows of no length, so that it does not insist on writing that much.
        private ReadOnlyMemory<byte> WithLength(ReadOnlyMemory<byte> head)
        {
            var at = head.Span.IndexOf(ChunkedLine);
            if (contentLength is not { } length || at < 0)
            {
                return head;
            }

            var line = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\r\nContent-Length: {length}\r\n"));
            return (byte[])[.. head.Span[..at], .. line, .. head.Span[(at + ChunkedLine.Length)..]];
        }

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _headSent.TrySetException(new IOException("The connection to the application has ended."));
                _ = EndAsync();
            }

            base.Dispose(disposing);
        }

        // The answer is complete, or has failed. Complete or not, the application may want the rest of the content: that
        // ends with the connection, with the visitor, or with its last byte.
        private async Task EndAsync()
        {
            var watching = WatchAsync();
            await _uploading;
            await _wire.DisposeAsync();
            await watching;
        }

        private async Task WatchAsync()
        {
            var buffer = new byte[256];
            try
            {
                while (!_uploading.IsCompleted && await _wire.ReadAsync(buffer) > 0)
                {
                }
            }
            catch (Exception exception) when (exception is IOException or ObjectDisposedException)
            {
            }

            if (!_uploading.IsCompleted)
            {
                body.End();
                await _wire.DisposeAsync();
            }
        }

        public override bool CanRead => true;
        public override bool CanWrite => true;

        private sealed class ContentWriter(AppConnection connection) : AsyncStream
        {
            public override bool CanWrite => true;

            public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
                buffer.IsEmpty ? default
                : connection.HasLength ? connection.SendAsync(buffer, cancellationToken)
                : connection.SendChunkAsync(buffer, cancellationToken);
        }
    }
}
