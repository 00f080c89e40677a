using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;

namespace Gateway.Tests.Harness;

/// <summary>A frame of HTTP/2 (RFC 9113 section 4.1).</summary>
internal sealed record Frame(byte Type, byte Flags, int StreamId, byte[] Payload)
{
    public const byte Data = 0x0, Headers = 0x1, Priority = 0x2, ResetStream = 0x3, Settings = 0x4, Ping = 0x6, GoAway = 0x7, WindowUpdate = 0x8, Continuation = 0x9;
    public const byte EndStream = 0x1, Acknowledged = 0x1, EndHeaders = 0x4;

    /// <summary>The status, where the answering server wrote it as one of the static table's (RFC 7541 appendix A), as servers do.</summary>
    public int Status => Payload[0] switch { 0x88 => 200, 0x89 => 204, 0x8b => 304, 0x8c => 400, 0x8d => 404, 0x8e => 500, _ => int.Parse(Encoding.ASCII.GetString(Payload, 2, 3), System.Globalization.CultureInfo.InvariantCulture) };
}

/// <summary>A visitor that writes the frames of HTTP/2 itself, valid or not.</summary>
internal sealed class RawHttp2(Stream stream) : IAsyncDisposable
{
    /// <summary>Connects with TLS and sends the client's preface with empty SETTINGS.</summary>
    public static Task<RawHttp2> OpenAsync(TestGateway gateway, string host) => OpenAsync(gateway.HttpsPort, host);

    /// <summary>The same, to a port of loopback.</summary>
    public static async Task<RawHttp2> OpenAsync(int port, string host)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        var options = TestGateway.TrustTestAuthority();
        options.TargetHost = host;
        options.ApplicationProtocols = [SslApplicationProtocol.Http2];
        var tls = new SslStream(new NetworkStream(socket, ownsSocket: true));
        await tls.AuthenticateAsClientAsync(options);
        await tls.WriteAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray());
        var connection = new RawHttp2(tls);
        await connection.SendAsync(Frame.Settings, 0, 0, []);
        return connection;
    }

    public async Task SendAsync(byte type, byte flags, int streamId, byte[] payload)
    {
        var frame = new byte[9 + payload.Length];
        BinaryPrimitives.WriteInt32BigEndian(frame, payload.Length << 8);
        (frame[3], frame[4]) = (type, flags);
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), streamId);
        payload.CopyTo(frame.AsSpan(9));
        await stream.WriteAsync(frame);
    }

    /// <summary>Sends a request without content, each field as a literal that is not indexed (RFC 7541 section 6.2.2).</summary>
    public Task RequestAsync(int streamId, params (string Name, string Value)[] fields) =>
        SendAsync(Frame.Headers, Frame.EndStream | Frame.EndHeaders, streamId, Encode(fields));

    public static byte[] Encode(params (string Name, string Value)[] fields)
    {
        var block = new List<byte>();
        foreach (var (name, value) in fields)
        {
            block.Add(0);
            AddString(name);
            AddString(value);
        }

        return [.. block];

        void AddString(string text)
        {
            var bytes = Encoding.Latin1.GetBytes(text);
            if (bytes.Length < 127)
            {
                block.Add((byte)bytes.Length);
            }
            else
            {
                block.Add(127);
                var rest = bytes.Length - 127;
                for (; rest >= 128; rest >>= 7)
                {
                    block.Add((byte)(0x80 | (rest & 0x7f)));
                }

                block.Add((byte)rest);
            }

            block.AddRange(bytes);
        }
    }

    /// <summary>Reads frames until one is of a type that is asked for; null when the connection ends before.</summary>
    public async Task<Frame?> ReadAsync(params byte[] types)
    {
        using var patience = new CancellationTokenSource(Eventually.Patience);
        var header = new byte[9];
        try
        {
            while (true)
            {
                await stream.ReadExactlyAsync(header, patience.Token);
                var payload = new byte[BinaryPrimitives.ReadInt32BigEndian(header) >> 8];
                await stream.ReadExactlyAsync(payload, patience.Token);
                if (types.Contains(header[3]))
                {
                    return new Frame(header[3], header[4], BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(5)), payload);
                }
            }
        }
        catch (IOException)
        {
            return null;
        }
    }

    public ValueTask DisposeAsync() => stream.DisposeAsync();
}
