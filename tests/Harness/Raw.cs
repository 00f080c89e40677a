using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;

namespace Gateway.Tests.Harness;

/// <summary>One end of a connection whose bytes the test writes and reads itself. Text is Latin-1: a character a byte.</summary>
internal sealed class RawConnection(Stream stream) : IAsyncDisposable
{
    private readonly List<byte> _pending = [];

    public Stream Stream => stream;

    /// <summary>Connects to a listener on loopback.</summary>
    public static async Task<RawConnection> OpenAsync(int port, bool tls = false, string host = "localhost")
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, port);
        Stream stream = new NetworkStream(socket, ownsSocket: true);
        if (tls)
        {
            var options = TestGateway.TrustTestAuthority();
            options.TargetHost = host;
            var ssl = new SslStream(stream);
            await ssl.AuthenticateAsClientAsync(options);
            stream = ssl;
        }

        return new RawConnection(stream);
    }

    public async Task SendAsync(string text)
    {
        await stream.WriteAsync(Encoding.Latin1.GetBytes(text));
        await stream.FlushAsync();
    }

    /// <summary>Reads to the end of a head (the empty line), which is included; what follows stays for later.</summary>
    public Task<string> ReadHeadAsync() => ReadUntilAsync("\r\n\r\n");

    /// <summary>Reads until the text has come, which is included; fails when the connection ends before.</summary>
    public async Task<string> ReadUntilAsync(string end)
    {
        while (true)
        {
            var text = Encoding.Latin1.GetString([.. _pending]);
            var index = text.IndexOf(end, StringComparison.Ordinal);
            if (index >= 0)
            {
                var length = index + end.Length;
                _pending.RemoveRange(0, length);
                return text[..length];
            }

            Assert.True(await FillAsync(), $"The connection ended before \"{end}\"; it gave: {text}");
        }
    }

    /// <summary>Reads exactly so many bytes.</summary>
    public async Task<string> ReadAsync(int count)
    {
        while (_pending.Count < count)
        {
            Assert.True(await FillAsync(), $"The connection ended after {_pending.Count} of {count} bytes.");
        }

        var text = Encoding.Latin1.GetString([.. _pending[..count]]);
        _pending.RemoveRange(0, count);
        return text;
    }

    /// <summary>Reads until the other side ends the connection; a reset counts as an end.</summary>
    public async Task<string> ReadToEndAsync()
    {
        while (await FillAsync())
        {
        }

        return Encoding.Latin1.GetString([.. _pending]);
    }

    public ValueTask DisposeAsync() => stream.DisposeAsync();

    private async Task<bool> FillAsync()
    {
        var buffer = new byte[16 * 1024];
        using var patience = new CancellationTokenSource(Eventually.Patience);
        try
        {
            var count = await stream.ReadAsync(buffer, patience.Token);
            _pending.AddRange(buffer.AsSpan(0, count));
            return count > 0;
        }
        catch (IOException)
        {
            return false;
        }
        catch (OperationCanceledException exception)
        {
            throw new TimeoutException($"Nothing came for {Eventually.Patience.TotalSeconds} s; so far: {Encoding.Latin1.GetString([.. _pending])}", exception);
        }
    }
}

/// <summary>An application that is a bare socket: the test sees every byte of a request and writes every byte of the answer.</summary>
internal sealed class RawApp : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    public RawApp() => _listener.Start();

    public Uri Url => new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}");

    public async Task<RawConnection> AcceptAsync()
    {
        var socket = await _listener.AcceptSocketAsync().WaitAsync(Eventually.Patience);
        socket.NoDelay = true;
        return new RawConnection(new NetworkStream(socket, ownsSocket: true));
    }

    /// <summary>Takes one connection, reads one head, answers with the given bytes, and ends the connection.</summary>
    public async Task<string> AnswerOnceAsync(string response)
    {
        await using var connection = await AcceptAsync();
        var head = await connection.ReadHeadAsync();
        await connection.SendAsync(response);
        return head;
    }

    public ValueTask DisposeAsync()
    {
        _listener.Dispose();
        return ValueTask.CompletedTask;
    }
}
