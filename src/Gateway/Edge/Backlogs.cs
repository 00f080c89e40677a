using System.IO.Pipelines;
using Gateway.Limits;
using Gateway.Listeners;
using Gateway.Listeners.Http2;
using Gateway.Telemetry;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Extensions.Options;
using Tunnel.Forwarding;

namespace Gateway.Edge;

/// <summary>
/// Ends exchanges that stand still: by time, those whose visitor takes nothing of the response; by number of bytes, those that wait longest
/// when a device has more in memory than it may have.
/// </summary>
internal sealed class Backlogs
{
    // What is on the way beside the tunnel's window: the forwarder's buffer, the server's, and a part that is larger than the latter allows.
    private const int ForwardingBytes = 192 * 1024;

    // The same for a request, with what the server keeps of it until it is read.
    private const int RequestBytes = 1024 * 1024 + ForwardingBytes;

    // What the server keeps of a response that is complete, and the exchange itself.
    private const int LastBytes = 16 * 1024;

    // The most that the gateway's own answers keep waiting, whoever they are for.
    private const long OwnBytes = 16 * 1024 * 1024;

    private readonly long _limit;
    private readonly long _responseBytes;
    private readonly TimeSpan _patience;
    private readonly GatewayMetrics _metrics;
    private readonly TimeProvider _time;

    // The gateway's own answers: those to nobody's device, too.
    private readonly DeviceBacklog _own = new();
    private long _held;

    public Backlogs(IOptions<LimitOptions> limits, IOptions<TunnelOptions> tunnels, IOptions<ListenerOptions> listen, GatewayMetrics metrics, TimeProvider time)
    {
        (_metrics, _time) = (metrics, time);
        _limit = limits.Value.Device.BufferedBytes;
        _responseBytes = tunnels.Value.Http2.StreamWindow + ForwardingBytes;
        _patience = listen.Value.StalledReadTimeout;
        metrics.ObserveBacklog(() => Interlocked.Read(ref _held));
    }

    /// <summary>Watches an exchange until disposed of.</summary>
    /// <param name="context">The visitor's request, or another node's.</param>
    /// <param name="device">The device's use of this node.</param>
    public ExchangeBacklog Watch(HttpContext context, DeviceUse device) => new(this, context, device.Backlog);

    /// <summary>Watches an answer of the gateway itself until disposed of.</summary>
    public ExchangeBacklog Watch(HttpContext context) => new(this, context, _own);

    private void Begin(DeviceBacklog device, WaitingPart part)
    {
        Interlocked.Add(ref _held, part.Bytes);
        device.Add(part);
        while (device.TakeSurplus(device == _own ? OwnBytes : _limit) is { } longest)
        {
            Interlocked.Add(ref _held, -longest.Bytes);
            _metrics.Refused(device == _own ? GatewayMetrics.Limit.VisitorStalled : GatewayMetrics.Limit.DeviceBuffered);
            longest.GiveUp();
        }
    }

    private void End(DeviceBacklog device, WaitingPart part)
    {
        if (device.Remove(part))
        {
            Interlocked.Add(ref _held, -part.Bytes);
        }
    }

    /// <summary>One exchange, and the body of its response. Costs nothing more than its place while everybody reads.</summary>
    internal sealed class ExchangeBacklog : AsyncStream, IHttpResponseBodyFeature, IBacklog
    {
        private readonly Backlogs _owner;
        private readonly HttpContext _context;
        private readonly DeviceBacklog _device;
        private readonly IHttpResponseBodyFeature _inner;
        private readonly Stream _body;
        private ResponseDeadline? _deadline;
        private WaitingPart? _response;
        private WaitingPart? _request;
        private CancellationTokenSource? _givenUp;
        private ReaderWatch? _watch;

        public ExchangeBacklog(Backlogs owner, HttpContext context, DeviceBacklog device)
        {
            (_owner, _context, _device) = (owner, context, device);
            _inner = context.Features.GetRequiredFeature<IHttpResponseBodyFeature>();
            _body = _inner.Stream;
            context.Features.Set<IHttpResponseBodyFeature>(this);
        }

        /// <summary>Whether the exchange was given up.</summary>
        public bool IsGivenUp => _givenUp is { IsCancellationRequested: true };

        public override bool CanWrite => true;

        Stream IHttpResponseBodyFeature.Stream => this;

        PipeWriter IHttpResponseBodyFeature.Writer => _inner.Writer;

        /// <summary>What ends the attempt that begins now.</summary>
        public void End(ResponseDeadline deadline)
        {
            _deadline = deadline;
            if (_givenUp is { } givenUp)
            {
                deadline.EndWith(givenUp.Token);
            }
        }

        /// <summary>
        /// Waits until the response, which is complete, has left: only then the request is not in flight any more. Over HTTP/1.1 no more of it
        /// waits than the connection has buffers for; over HTTP/2 it may be hundreds on each connection.
        /// </summary>
        public async ValueTask LeaveAsync()
        {
            if (_context.Features.Get<OpenStreams>() is not { } streams || _context.RequestAborted.IsCancellationRequested)
            {
                return;
            }

            await _inner.CompleteAsync();
            var stream = _context.Features.GetRequiredFeature<IHttp2StreamIdFeature>().StreamId;
            if (!streams.IsOpen(stream))
            {
                return;
            }

            // As a rule the server writes it now, and nothing has to be counted.
            await Task.Yield();
            var ended = streams.WhenEndedAsync(stream);
            if (ended.IsCompleted)
            {
                return;
            }

            IBacklog backlog = this;
            var givenUp = Prepare();
            _response = new WaitingPart(LastBytes, () => _ = givenUp.CancelAsync());
            backlog.ResponseWaits();
            try
            {
                await ended.WaitAsync(givenUp.Token);
            }
            catch (OperationCanceledException)
            {
                _context.Abort();
            }
            finally
            {
                backlog.ResponseTaken();
            }
        }

        void IBacklog.ResponseWaits()
        {
            var givenUp = Prepare();
            if (givenUp.IsCancellationRequested)
            {
                return; // whose place another one has by now
            }

            _response ??= new WaitingPart(Math.Min(_owner._responseBytes, _context.Response.ContentLength ?? long.MaxValue), () => _ = givenUp.CancelAsync());
            (_watch ??= new ReaderWatch(_owner, _context, givenUp)).Begin();
            _owner.Begin(_device, _response);
        }

        void IBacklog.ResponseTaken()
        {
            _watch?.End();
            if (_response is not null)
            {
                _owner.End(_device, _response);
            }
        }

        void IBacklog.RequestWaits()
        {
            var givenUp = Prepare();
            if (givenUp.IsCancellationRequested)
            {
                return;
            }

            _request ??= new WaitingPart(Math.Min(RequestBytes, _context.Request.ContentLength ?? long.MaxValue), () => _ = givenUp.CancelAsync());
            _owner.Begin(_device, _request);
        }

        void IBacklog.RequestTaken()
        {
            if (_request is not null)
            {
                _owner.End(_device, _request);
            }
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            var writing = _body.WriteAsync(buffer, cancellationToken);
            return writing.IsCompleted ? writing : new ValueTask(WaitAsync(writing.AsTask()));
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => Waiting(_body.FlushAsync(cancellationToken));

        public void DisableBuffering() => _inner.DisableBuffering();

        public Task StartAsync(CancellationToken cancellationToken = default) => Waiting(_inner.StartAsync(cancellationToken));

        public Task SendFileAsync(string path, long offset, long? count, CancellationToken cancellationToken = default) =>
            Waiting(_inner.SendFileAsync(path, offset, count, cancellationToken));

        public Task CompleteAsync() => Waiting(_inner.CompleteAsync());

        protected override void Dispose(bool disposing)
        {
            if (disposing)
            {
                _context.Features.Set(_inner);
                _watch?.Dispose();
                foreach (var part in new ReadOnlySpan<WaitingPart?>([_response, _request]))
                {
                    if (part is not null)
                    {
                        _owner.End(_device, part);
                    }
                }
            }

            base.Dispose(disposing);
        }

        private Task Waiting(Task writing) => writing.IsCompleted ? writing : WaitAsync(writing);

        private async Task WaitAsync(Task writing)
        {
            IBacklog backlog = this;
            backlog.ResponseWaits();
            try
            {
                await writing;
            }
            finally
            {
                backlog.ResponseTaken();
            }
        }

        private CancellationTokenSource Prepare()
        {
            if (_givenUp is { } known)
            {
                return known;
            }

            var source = new CancellationTokenSource();
            if (Interlocked.CompareExchange(ref _givenUp, source, null) is { } first)
            {
                return first;
            }

            _deadline?.EndWith(source.Token);
            return source;
        }
    }

    /// <summary>
    /// Sees whether a visitor takes anything of what waits for it. A part that waits too long has stood still, unless the connection moves
    /// meanwhile, and so slowly that its turn has not come: the kernel may hold megabytes before it. With nothing in the kernel's hands it
    /// is a window of HTTP/2 that stays closed.
    /// </summary>
    private sealed class ReaderWatch : IDisposable
    {
        private readonly Backlogs _owner;
        private readonly CancellationTokenSource _givenUp;
        private readonly System.Net.Sockets.Socket? _socket;
        private readonly IConnectionLifetimeFeature? _connection;
        private readonly ITimer _timer;
        private long _since;
        private long _acknowledged = -1;
        private long _movedAt;

        public ReaderWatch(Backlogs owner, HttpContext context, CancellationTokenSource givenUp)
        {
            (_owner, _givenUp) = (owner, givenUp);
            _socket = context.Features.Get<IConnectionSocketFeature>()?.Socket;
            _connection = context.Features.Get<IConnectionLifetimeFeature>();
            var interval = owner._patience / 8;
            _timer = owner._time.CreateTimer(static watch => ((ReaderWatch)watch!).Look(), this, interval, interval);
        }

        public void Begin() => Volatile.Write(ref _since, _owner._time.GetTimestamp());

        public void End() => Volatile.Write(ref _since, 0);

        public void Dispose()
        {
            End();
            _timer.Dispose();
        }

        private void Look()
        {
            var since = Volatile.Read(ref _since);
            if (since == 0 || _givenUp.IsCancellationRequested)
            {
                return;
            }

            var progress = TcpProgress.Of(_socket);
            if (progress.Acknowledged != _acknowledged)
            {
                (_acknowledged, _movedAt) = (progress.Acknowledged, _owner._time.GetTimestamp());
            }

            var stands = progress.IsPending && _owner._time.GetElapsedTime(_movedAt) >= _owner._patience;
            if (_owner._time.GetElapsedTime(since) < _owner._patience || (progress.IsPending && !stands))
            {
                return;
            }

            _owner._metrics.Refused(GatewayMetrics.Limit.VisitorStalled);
            _ = _givenUp.CancelAsync();
            if (stands)
            {
                // Not even a reset of the stream would leave.
                _connection?.Abort();
            }
        }
    }
}
