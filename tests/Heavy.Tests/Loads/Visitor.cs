using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>What a visitor got.</summary>
/// <param name="Failure">The name of the gateway's failure, where it named one (Proxy-Status).</param>
internal readonly record struct Answer(int Status, string Body, string? Failure);

/// <summary>
/// A visitor's connection, HTTP/1.1 with keep-alive. It repeats nothing: what a browser or <see cref="HttpClient"/> would send
/// again in silence is an error here.
/// </summary>
internal sealed class Visitor(Func<IPEndPoint> where) : IDisposable
{
    private readonly byte[] _buffer = new byte[16 * 1024];
    private Socket? _socket;
    private int _filled;

    /// <summary>Whether the next request goes over a connection that has served one.</summary>
    public bool IsConnected => _socket is not null;

    /// <summary>The method of the last request.</summary>
    public string Last { get; private set; } = "";

    /// <summary>Where the connection in use leads to.</summary>
    public IPEndPoint? Peer { get; private set; }

    /// <summary>Sends a request and reads its answer.</summary>
    /// <exception cref="SocketException">Nobody accepts the connection, or it was reset.</exception>
    /// <exception cref="EndOfStreamException">The connection ended before the answer did.</exception>
    public async Task<Answer> AskAsync(string method, string host, string target, string id, CancellationToken cancellationToken)
    {
        try
        {
            if (_socket is null)
            {
                Peer = where();
                _socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                await _socket.ConnectAsync(Peer, cancellationToken);
                _filled = 0;
            }

            Last = method;
            var content = method == "POST" ? "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello" : "\r\n";
            await _socket.SendAsync(Encoding.ASCII.GetBytes($"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Request-Id: {id}\r\n{content}"), cancellationToken);
            return await ReadAsync(cancellationToken);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _socket?.Dispose();
        _socket = null;
    }

    private async Task<Answer> ReadAsync(CancellationToken cancellationToken)
    {
        int end;
        while ((end = _buffer.AsSpan(0, _filled).IndexOf("\r\n\r\n"u8)) < 0)
        {
            await FillAsync(cancellationToken);
        }

        var head = Encoding.Latin1.GetString(_buffer, 0, end).Split("\r\n");
        Take(end + 4);
        var status = int.Parse(head[0].Split(' ')[1], CultureInfo.InvariantCulture);
        var body = Field(head, "Content-Length") is { } length ? await ReadExactlyAsync(int.Parse(length, CultureInfo.InvariantCulture), cancellationToken)
            : Field(head, "Transfer-Encoding") is not null ? await ReadChunksAsync(cancellationToken) : "";
        if (string.Equals(Field(head, "Connection"), "close", StringComparison.OrdinalIgnoreCase))
        {
            Dispose();
        }

        return new Answer(status, body, Field(head, "Proxy-Status"));
    }

    private static string? Field(string[] head, string name) =>
        head.FirstOrDefault(line => line.StartsWith(name + ":", StringComparison.OrdinalIgnoreCase))?[(name.Length + 1)..].Trim();

    private async Task<string> ReadExactlyAsync(int count, CancellationToken cancellationToken)
    {
        var text = new StringBuilder();
        while (text.Length < count)
        {
            if (_filled == 0)
            {
                await FillAsync(cancellationToken);
            }

            var part = Math.Min(count - text.Length, _filled);
            text.Append(Encoding.Latin1.GetString(_buffer, 0, part));
            Take(part);
        }

        return text.ToString();
    }

    private async Task<string> ReadChunksAsync(CancellationToken cancellationToken)
    {
        var text = new StringBuilder();
        while (true)
        {
            int end;
            while ((end = _buffer.AsSpan(0, _filled).IndexOf("\r\n"u8)) < 0)
            {
                await FillAsync(cancellationToken);
            }

            var size = int.Parse(Encoding.ASCII.GetString(_buffer, 0, end), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            Take(end + 2);
            text.Append(await ReadExactlyAsync(size, cancellationToken));
            await ReadExactlyAsync(2, cancellationToken);
            if (size == 0)
            {
                return text.ToString();
            }
        }
    }

    private async Task FillAsync(CancellationToken cancellationToken)
    {
        var count = await _socket!.ReceiveAsync(_buffer.AsMemory(_filled), cancellationToken);
        _filled += count > 0 ? count : throw new EndOfStreamException("The connection ended before the answer did.");
    }

    private void Take(int count)
    {
        _buffer.AsSpan(count, _filled - count).CopyTo(_buffer);
        _filled -= count;
    }
}
