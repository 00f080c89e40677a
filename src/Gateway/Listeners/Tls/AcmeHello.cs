using System.Buffers;
using System.IO.Pipelines;
using System.Net.Security;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Listeners.Tls;

/// <summary>A connection's feature: its client is an ACME server that checks a name by TLS-ALPN-01.</summary>
internal sealed class AcmeHelloFeature
{
    public static readonly AcmeHelloFeature Instance = new();
}

/// <summary>
/// Recognises the handshakes of TLS-ALPN-01 (RFC 8737 section 3), which the platform's callback cannot: it is not told what
/// protocols a client offers. Nothing is taken from the connection.
/// </summary>
internal static class AcmeHello
{
    public static readonly SslApplicationProtocol Protocol = new("acme-tls/1");

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private const int RecordHead = 5;
    private const byte Handshake = 22;

    // A client that wants nothing else (which RFC 8737 demands) has this extension to the byte: type 16 (RFC 7301), its length,
    // the list's length, the name's length, the name.
    private static ReadOnlySpan<byte> Extension => "\0\x10\0\x0d\0\x0b\nacme-tls/1"u8;

    /// <summary>Comes before the TLS middleware.</summary>
    public static IConnectionBuilder UseAcmeHello(this IConnectionBuilder connections) => connections.Use(static next => async connection =>
    {
        // A client that says nothing in time, or is gone, is left at that.
        if (await IsAcmeAsync(connection.Transport.Input, connection.ConnectionClosed) is { } isAcme)
        {
            if (isAcme)
            {
                connection.Features.Set(AcmeHelloFeature.Instance);
            }

            await next(connection);
        }
    });

    private static async ValueTask<bool?> IsAcmeAsync(PipeReader input, CancellationToken closed)
    {
        // The handshake's own time limit begins after this.
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(closed);
        patience.CancelAfter(Patience);
        long examined = 0;
        while (true)
        {
            ReadResult result;
            try
            {
                result = await input.ReadAsync(patience.Token);
            }
            catch (Exception exception) when (exception is OperationCanceledException or IOException)
            {
                return null;
            }

            var buffer = result.Buffer;
            var isAcme = Judge(buffer);
            if (isAcme is not null || result.IsCompleted)
            {
                // Nothing is consumed. What was examined before stays so, and the rest is read again at once.
                input.AdvanceTo(buffer.Start, buffer.GetPosition(examined));
                return isAcme == true;
            }

            examined = buffer.Length;
            input.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    // Null while the record is not complete. A hello in several records is none of an ACME server.
    private static bool? Judge(in ReadOnlySequence<byte> buffer)
    {
        if (buffer.Length < RecordHead)
        {
            return buffer.Length > 0 && buffer.FirstSpan[0] != Handshake ? false : null;
        }

        Span<byte> head = stackalloc byte[RecordHead];
        buffer.Slice(0, RecordHead).CopyTo(head);
        var length = RecordHead + (head[3] << 8 | head[4]);
        if (head[0] != Handshake || length > 16 * 1024 + RecordHead)
        {
            return false;
        }

        if (buffer.Length < length)
        {
            return null;
        }

        return buffer.IsSingleSegment
            ? buffer.FirstSpan[..length].IndexOf(Extension) >= 0
            : buffer.Slice(0, length).ToArray().AsSpan().IndexOf(Extension) >= 0;
    }
}
