using System.Buffers.Binary;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Tunnel.Forwarding;

/// <summary>
/// Lets a forwarder that has to stop take leave of the WebSockets that cross it: the client gets a Close frame (RFC 6455
/// section 5.5.1) with 1001 "going away" between two frames of the application's, answers it, and so the application learns
/// of the end as well. Without this both would see the connection break off (1006).
/// </summary>
public static class WebSocketFarewell
{
    /// <summary>To be called before a request for a WebSocket is forwarded; does nothing for others.</summary>
    /// <param name="context">The request.</param>
    /// <param name="leaving">Is cancelled when the forwarder wants to stop.</param>
    /// <param name="backlog">Is told when messages wait.</param>
    public static void Arm(HttpContext context, CancellationToken leaving, IBacklog? backlog = null)
    {
        if (context.Features.Get<IHttpUpgradeFeature>() is { IsUpgradableRequest: true } upgrade and not UpgradeFeature
            && context.Request.Headers.Upgrade.ToString().Equals("websocket", StringComparison.OrdinalIgnoreCase))
        {
            context.Features.Set<IHttpUpgradeFeature>(new UpgradeFeature(upgrade, backlog, leaving));
        }
        else if (context.Features.Get<IHttpExtendedConnectFeature>() is { IsExtendedConnect: true } connect and not ConnectFeature
            && "websocket".Equals(connect.Protocol, StringComparison.OrdinalIgnoreCase))
        {
            context.Features.Set<IHttpExtendedConnectFeature>(new ConnectFeature(connect, backlog, leaving));
        }
    }

    private sealed class UpgradeFeature(IHttpUpgradeFeature inner, IBacklog? backlog, CancellationToken leaving) : IHttpUpgradeFeature
    {
        public bool IsUpgradableRequest => inner.IsUpgradableRequest;

        public async Task<Stream> UpgradeAsync() => new WebSocketStream(await inner.UpgradeAsync(), backlog, leaving);
    }

    private sealed class ConnectFeature(IHttpExtendedConnectFeature inner, IBacklog? backlog, CancellationToken leaving) : IHttpExtendedConnectFeature
    {
        public bool IsExtendedConnect => inner.IsExtendedConnect;

        public string? Protocol => inner.Protocol;

        public async ValueTask<Stream> AcceptAsync() => new WebSocketStream(await inner.AcceptAsync(), backlog, leaving);
    }
}

/// <summary>The client's end of a WebSocket as a forwarder sees it: knows where the application's frames begin and end.</summary>
internal sealed class WebSocketStream : AsyncStream
{
    private static readonly byte[] Goodbye = CloseFrame(WebSocketCloseStatus.EndpointUnavailable, "the gateway is going away");

    private readonly Stream _inner;
    private readonly IBacklog? _backlog;
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly CancellationTokenRegistration _leaving;
    private readonly FrameBoundary _boundary = new();
    private volatile bool _isLeaving;
    private bool _saidGoodbye;

    public WebSocketStream(Stream inner, IBacklog? backlog, CancellationToken leaving)
    {
        (_inner, _backlog) = (inner, backlog);
        _leaving = leaving.UnsafeRegister(static stream => _ = ((WebSocketStream)stream!).LeaveAsync(), this);
    }

    public override bool CanRead => true;

    public override bool CanWrite => true;

    // Who reads has passed on what was read before.
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _backlog?.RequestTaken();
        var count = await _inner.ReadAsync(buffer, cancellationToken);
        if (count > 0)
        {
            _backlog?.RequestWaits();
        }

        return count;
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => _inner.FlushAsync(cancellationToken);

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await _writing.WaitAsync(cancellationToken);
        try
        {
            if (_saidGoodbye)
            {
                return; // nothing may follow a Close frame (RFC 6455 section 5.5.1)
            }

            // The rest of the frame that is under way, and then the farewell.
            var length = _boundary.Advance(buffer.Span, stopAtBoundary: _isLeaving);
            var writing = _inner.WriteAsync(buffer[..length], cancellationToken);
            await (writing.IsCompleted || _backlog is null ? writing : WaitAsync(writing, _backlog));
            if (_isLeaving && _boundary.IsBetweenFrames)
            {
                await SayGoodbyeAsync();
            }
        }
        finally
        {
            _writing.Release();
        }
    }

    private static async ValueTask WaitAsync(ValueTask writing, IBacklog backlog)
    {
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

    public override async ValueTask DisposeAsync()
    {
        await _leaving.DisposeAsync();
        await _inner.DisposeAsync();
        await base.DisposeAsync();
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _leaving.Dispose();
            _inner.Dispose();
        }

        base.Dispose(disposing);
    }

    private async Task LeaveAsync()
    {
        _isLeaving = true;
        await _writing.WaitAsync();
        try
        {
            if (!_saidGoodbye && _boundary.IsBetweenFrames)
            {
                await SayGoodbyeAsync();
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException or OperationCanceledException or InvalidOperationException)
        {
            // The client has gone first.
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task SayGoodbyeAsync()
    {
        _saidGoodbye = true;
        await _inner.WriteAsync(Goodbye);
        await _inner.FlushAsync();
    }

    private static byte[] CloseFrame(WebSocketCloseStatus status, string reason)
    {
        var frame = new byte[4 + reason.Length];
        frame[0] = 0x88; // FIN, opcode 8
        frame[1] = (byte)(2 + reason.Length);
        BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(2), (ushort)status);
        System.Text.Encoding.ASCII.GetBytes(reason, frame.AsSpan(4));
        return frame;
    }
}

/// <summary>Follows a sequence of WebSocket frames (RFC 6455 section 5.2) by their lengths; the payload is not looked at.</summary>
internal sealed class FrameBoundary
{
    // The longest header: two bytes, a length of eight, a mask of four.
    private readonly byte[] _header = new byte[14];
    private int _headerLength;
    private long _payloadLeft;

    /// <summary>Whether the last frame is complete, or none has begun.</summary>
    public bool IsBetweenFrames => _headerLength == 0 && _payloadLeft == 0;

    /// <summary>Takes the next bytes.</summary>
    /// <returns>How many were taken: all, or those up to the first end of a frame when that was asked for.</returns>
    public int Advance(ReadOnlySpan<byte> bytes, bool stopAtBoundary)
    {
        var taken = 0;
        while (taken < bytes.Length && !(stopAtBoundary && IsBetweenFrames))
        {
            if (_payloadLeft > 0)
            {
                var part = (int)Math.Min(_payloadLeft, bytes.Length - taken);
                _payloadLeft -= part;
                taken += part;
                continue;
            }

            _header[_headerLength++] = bytes[taken++];
            if (_headerLength >= 2 && _headerLength == HeaderLength())
            {
                _payloadLeft = PayloadLength();
                _headerLength = 0;
            }
        }

        return taken;
    }

    private int HeaderLength() => 2 + ((_header[1] & 0x7f) switch { 126 => 2, 127 => 8, _ => 0 }) + ((_header[1] & 0x80) != 0 ? 4 : 0);

    private long PayloadLength() => (_header[1] & 0x7f) switch
    {
        126 => BinaryPrimitives.ReadUInt16BigEndian(_header.AsSpan(2)),
        127 => BinaryPrimitives.ReadInt64BigEndian(_header.AsSpan(2)) & long.MaxValue,
        var length => length,
    };
}
