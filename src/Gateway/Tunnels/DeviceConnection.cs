using System.IO.Pipelines;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using Gateway.Limits;
using Gateway.Listeners;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Gateway.Tunnels;

/// <summary>
/// A device's connection, decrypted, on which the server speaks HTTP until it becomes a tunnel. Then the server is done with it: what
/// it needs for a connection, about 10 KB, would be kept for as long as a request that was upgraded lasts. A device's request ends with
/// the 101 instead, and so does its connection to the server; the tunnel goes on by the TLS stream itself.
/// </summary>
internal sealed class DeviceConnection : ServerConnection, IConnectionSocketFeature, ITlsConnectionFeature, ITlsApplicationProtocolFeature
{
    private readonly Socket _socket;
    private readonly SslStream _tls;
    private readonly ConnectionUse _use;
    private bool _isTaken;

    /// <param name="socket">The device's.</param>
    /// <param name="tls">The stream upon it, after the handshake.</param>
    /// <param name="use">What it counts for.</param>
    public DeviceConnection(Socket socket, SslStream tls, ConnectionUse use)
    {
        (_socket, _tls, _use) = (socket, tls, use);
        Transport = new Ends(
            PipeReader.Create(tls, new StreamPipeReaderOptions(leaveOpen: true, useZeroByteReads: true)),
            PipeWriter.Create(tls, new StreamPipeWriterOptions(leaveOpen: true)));
        Features.Set<IConnectionSocketFeature>(this);
        Features.Set<ITlsConnectionFeature>(this);
        Features.Set<ITlsApplicationProtocolFeature>(this);
        Features.Set(use);
        Features.Set(this);
    }

    Socket IConnectionSocketFeature.Socket => _socket;

    X509Certificate2? ITlsConnectionFeature.ClientCertificate
    {
        get => _tls.RemoteCertificate as X509Certificate2;
        set => throw new NotSupportedException("A device's certificate is the one that it has shown.");
    }

    Task<X509Certificate2?> ITlsConnectionFeature.GetClientCertificateAsync(CancellationToken cancellationToken) =>
        Task.FromResult(_tls.RemoteCertificate as X509Certificate2);

    ReadOnlyMemory<byte> ITlsApplicationProtocolFeature.ApplicationProtocol => _tls.NegotiatedApplicationProtocol.Protocol;

    /// <summary>Gives back what the handshake needed. To be called while the server neither reads nor writes.</summary>
    public void ReleaseBuffers() => TlsBuffers.ReleaseWhenIdle(_tls);

    /// <summary>
    /// Takes the stream, and what it counts for, from the server, which has answered 101; null when it has read beyond the request, so
    /// that not all of what the device sends would come from the stream.
    /// </summary>
    public (SslStream Tls, ConnectionUse Use)? TryTake()
    {
        var input = Transport.Input;
        if (input.TryRead(out var result))
        {
            var isEmpty = result.Buffer.IsEmpty;
            input.AdvanceTo(result.Buffer.Start);
            if (!isEmpty || result.IsCompleted)
            {
                return null;
            }
        }

        _isTaken = true;
        return (_tls, _use);
    }

    public override void Abort(ConnectionAbortedException abortReason)
    {
        if (!_isTaken)
        {
            _socket.Dispose();
        }

        base.Abort(abortReason);
    }

    public override async ValueTask DisposeAsync()
    {
        if (!_isTaken)
        {
            await _tls.DisposeAsync();
            _use.Dispose();
        }

        await base.DisposeAsync();
    }

    private sealed record Ends(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
