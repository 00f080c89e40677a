using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Attackers;

/// <summary>
/// A visitor who wants to harm, from an address of its own. Each behaviour is a method that goes on until it is cut off or its time is up; to
/// add one, write it here and name it in <see cref="Behaviours"/>.
/// </summary>
/// <param name="address">Whom the gateway sees: 127.0.0.0/8.</param>
/// <param name="httpPort">Without TLS.</param>
/// <param name="httpsPort">With TLS.</param>
/// <param name="host">A device that is there, whose application answers <c>/large</c> without end.</param>
internal sealed class HostileVisitor(string address, int httpPort, int httpsPort, string host)
{
    public static readonly Dictionary<string, Func<HostileVisitor, CancellationToken, Task<Flood>>> Behaviours = new(StringComparer.Ordinal)
    {
        ["requests that are reset at once"] = static (visitor, time) => visitor.ResetsAsync(time),
        ["streams that the server has to reset"] = static (visitor, time) => visitor.CausedResetsAsync(time),
        ["a head of endless CONTINUATION"] = static (visitor, time) => visitor.ContinuationAsync(100, time),
        ["a head of empty CONTINUATION"] = static (visitor, time) => visitor.ContinuationAsync(0, time),
        ["SETTINGS, never reading"] = static (visitor, time) => visitor.FramesAsync(Frame.Settings, 0, 0, Http2Writer.Setting(3, 100), reading: false, time),
        ["SETTINGS"] = static (visitor, time) => visitor.FramesAsync(Frame.Settings, 0, 0, Http2Writer.Setting(3, 100), reading: true, time),
        ["PING, never reading"] = static (visitor, time) => visitor.FramesAsync(Frame.Ping, 0, 0, new byte[8], reading: false, time),
        ["PING"] = static (visitor, time) => visitor.FramesAsync(Frame.Ping, 0, 0, new byte[8], reading: true, time),
        ["PRIORITY"] = static (visitor, time) => visitor.FramesAsync(Frame.Priority, 0, 1, new byte[] { 0, 0, 0, 0, 1 }, reading: true, time),
        ["openings of windows"] = static (visitor, time) => visitor.FramesAsync(Frame.WindowUpdate, 0, 0, Http2Writer.Number(1), reading: true, time),
        ["frames of no known type"] = static (visitor, time) => visitor.FramesAsync(0xfa, 0, 0, [], reading: true, time),
        ["empty DATA"] = static (visitor, time) => visitor.EmptyDataAsync(time),
        ["windows that stay closed"] = static (visitor, time) => visitor.ClosedWindowsAsync("/large", time),
        ["windows that stay closed, small answers"] = static (visitor, time) => visitor.ManyClosedWindowsAsync(time),
        ["a bomb of compressed fields"] = static (visitor, time) => visitor.FieldBombAsync(time),
        ["heads that come byte by byte"] = static (visitor, time) => visitor.SlowAsync(static _ => "GET / HTTP/1.1\r\nX-Slow: "u8.ToArray(), time),
        ["contents that come byte by byte"] = static (visitor, time) => visitor.SlowAsync(
            static name => System.Text.Encoding.ASCII.GetBytes($"POST /upload HTTP/1.1\r\nHost: {name}\r\nContent-Length: 1000000\r\n\r\n"), time),
        ["answers that are not read"] = static (visitor, time) => visitor.NeverReadAsync(time),
        ["unknown hosts"] = static (visitor, time) => visitor.UnknownHostsAsync(time),
        ["handshakes that never end"] = static (visitor, time) => visitor.HalfHandshakesAsync(time),
        ["handshakes without end"] = static (visitor, time) => visitor.HandshakesAsync(time),
        ["strangers at the tunnels' door"] = static (visitor, time) => visitor.KnockAsync(time),
    };

    /// <summary>Behaviours that end the connection, however long they go on otherwise: frames without end.</summary>
    public static readonly HashSet<string> Floods = new(StringComparer.Ordinal)
    {
        "requests that are reset at once", "streams that the server has to reset", "a head of endless CONTINUATION", "a head of empty CONTINUATION", "SETTINGS, never reading", "SETTINGS",
        "PING, never reading", "PING", "PRIORITY", "openings of windows", "frames of no known type", "empty DATA", "a bomb of compressed fields",
    };

    private const int Batch = 500;

    private (string, string)[] Head(string method = "GET", string path = "/") => [(":method", method), (":scheme", "https"), (":path", path), (":authority", host)];

    private async Task<Flood> ResetsAsync(CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        var head = Http2Writer.Fields(Head());
        await flood.SendAsync(
            batch => Http2Writer.Repeat(Batch, i =>
            {
                var stream = 1 + (2 * ((batch * Batch) + i));
                return [.. Http2Writer.Frame(Frame.Headers, Frame.EndStream | Frame.EndHeaders, stream, head), .. Http2Writer.Frame(Frame.ResetStream, 0, stream, Http2Writer.Number(8))];
            }),
            time);
        return flood;
    }

    // A window that is opened too far is the server's reason for a reset, and no reset of the visitor's is counted.
    private async Task<Flood> CausedResetsAsync(CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        var head = Http2Writer.Fields(Head("POST"));
        await flood.SendAsync(
            batch => Http2Writer.Repeat(Batch, i =>
            {
                var stream = 1 + (2 * ((batch * Batch) + i));
                return [.. Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, stream, head), .. Http2Writer.Frame(Frame.WindowUpdate, 0, stream, Http2Writer.Number(0x7fffffff))];
            }),
            time);
        return flood;
    }

    private async Task<Flood> ContinuationAsync(int size, CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, 0, 1, Http2Writer.Fields(Head())), time);
        var fragment = size == 0 ? [] : Http2Writer.Fields(("x-more", new string('a', size)));
        var many = Http2Writer.Repeat(Batch, _ => Http2Writer.Frame(Frame.Continuation, 0, 1, fragment));
        await flood.SendAsync(_ => many, time);
        return flood;
    }

    private async Task<Flood> FramesAsync(byte type, byte flags, int stream, byte[] payload, bool reading, CancellationToken time)
    {
        var flood = await OpenHttp2Async(time);
        flood = reading ? flood.Reading() : flood;
        var many = Http2Writer.Repeat(Batch, _ => Http2Writer.Frame(type, flags, stream, payload));
        await flood.SendAsync(_ => many, time);
        return flood;
    }

    private async Task<Flood> EmptyDataAsync(CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, Http2Writer.Fields(Head("POST", "/upload"))), time);
        var many = Http2Writer.Repeat(Batch, static _ => Http2Writer.Frame(Frame.Data, 0, 1, []));
        await flood.SendAsync(_ => many, time);
        return flood;
    }

    private async Task<Flood> ClosedWindowsAsync(string path, CancellationToken time)
    {
        var flood = await AskWithClosedWindowsAsync(path, 100, time);
        await flood.StayAsync(time);
        return flood;
    }

    // As many answers on each connection as the server lets them be; each is complete for the gateway at once.
    private async Task<Flood> ManyClosedWindowsAsync(CancellationToken time)
    {
        var first = await AskWithClosedWindowsAsync("/", 250, time);
        var others = new List<Flood>();
        for (var i = 0; i < 40 && !time.IsCancellationRequested; i++)
        {
            others.Add(await AskWithClosedWindowsAsync("/", 250, time));
        }

        await first.StayAsync(time);
        foreach (var other in others)
        {
            await other.DisposeAsync();
        }

        return first;
    }

    private async Task<Flood> AskWithClosedWindowsAsync(string path, int times, CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        await flood.SendAsync(Http2Writer.Frame(Frame.Settings, 0, 0, Http2Writer.Setting(4, 0)), time);
        var head = Http2Writer.Fields(Head("GET", path));
        await flood.SendAsync(Http2Writer.Repeat(times, i => Http2Writer.Frame(Frame.Headers, Frame.EndStream | Frame.EndHeaders, 1 + (2 * i), head)), time);
        return flood;
    }

    // A large field goes into the table once (RFC 7541 section 6.2.1), and then each byte is all of it (section 6.1).
    private async Task<Flood> FieldBombAsync(CancellationToken time)
    {
        var flood = (await OpenHttp2Async(time)).Reading();
        byte[] field = [0x40, .. Http2Writer.Fields(("x-bomb", new string('b', 3000)))[1..]];
        byte[] references = [.. Enumerable.Repeat((byte)(0x80 | 62), 10_000)];
        await flood.SendAsync(
            batch => Http2Writer.Repeat(10, i => Http2Writer.Frame(
                Frame.Headers, Frame.EndStream | Frame.EndHeaders, 1 + (2 * ((batch * 10) + i)), [.. Http2Writer.Fields(Head()), .. batch + i == 0 ? field : [], .. references])),
            time);
        return flood;
    }

    private async Task<Flood> SlowAsync(Func<string, byte[]> begin, CancellationToken time)
    {
        var first = new Flood(await ConnectAsync(httpPort, time)).Reading();
        var others = new List<Stream>();
        for (var i = 0; i < 300 && !time.IsCancellationRequested; i++)
        {
            others.Add(await ConnectAsync(httpPort, time));
            await others[i].WriteAsync(begin(host), CancellationToken.None);
        }

        await first.SendAsync(begin(host), time);
        while (await first.SendAsync("x"u8.ToArray(), time))
        {
            foreach (var other in others)
            {
                await TryWriteAsync(other, "x"u8.ToArray());
            }

            await Task.Delay(100, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        others.ForEach(static other => other.Dispose());
        return first;
    }

    private async Task<Flood> NeverReadAsync(CancellationToken time)
    {
        var request = System.Text.Encoding.ASCII.GetBytes($"GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n");
        var first = new Flood(await ConnectAsync(httpPort, time));
        await first.SendAsync(request, time);
        var others = new List<Stream>();
        for (var i = 0; i < 50 && !time.IsCancellationRequested; i++)
        {
            others.Add(await ConnectAsync(httpPort, time));
            await TryWriteAsync(others[i], request);
        }

        // Who does not read learns of the end by writing: empty lines before a next request, which are none (RFC 9112 section 2.2).
        while (await first.SendAsync("\r\n"u8.ToArray(), time))
        {
            await Task.Delay(500, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        others.ForEach(static other => other.Dispose());
        return first;
    }

    private async Task<Flood> UnknownHostsAsync(CancellationToken time)
    {
        var flood = new Flood(await ConnectAsync(httpPort, time)).Reading();
        await flood.SendAsync(
            static _ => Http2Writer.Repeat(100, static _ => System.Text.Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: {Tunnel.Protocol.DeviceUuid.New()}.localhost\r\n\r\n")), time);
        return flood;
    }

    private async Task<Flood> HalfHandshakesAsync(CancellationToken time)
    {
        var first = new Flood(await ConnectAsync(httpsPort, time)).Reading();
        await first.SendAsync(new byte[] { 22, 3, 1 }, time);
        var others = new List<Stream>();
        for (var i = 0; i < 1000 && !time.IsCancellationRequested; i++)
        {
            others.Add(await ConnectAsync(httpsPort, time));
            await TryWriteAsync(others[i], new byte[] { 22, 3, 1 });
        }

        await first.StayAsync(time);
        others.ForEach(static other => other.Dispose());
        return first;
    }

    // As many as there may be in a burst, and some: then nobody lets it in.
    private async Task<Flood> HandshakesAsync(CancellationToken time)
    {
        await Parallel.ForAsync(0, 10, CancellationToken.None, async (_, refused) =>
        {
            while (!time.IsCancellationRequested && !refused.IsCancellationRequested)
            {
                await using var flood = await OpenHttp2Async(time);
            }
        });
        return new Flood(Stream.Null);
    }

    // Wrong keys, one after the other, and heads that never end.
    private async Task<Flood> KnockAsync(CancellationToken time)
    {
        var first = new Flood(await ConnectAsync(httpPort, time)).Reading();
        await first.SendAsync("GET /v1/devices/"u8.ToArray(), time);
        var knocking = Enumerable.Range(0, 50).Select(async _ =>
        {
            while (!time.IsCancellationRequested)
            {
                await using var stranger = new Flood(await ConnectAsync(httpPort, CancellationToken.None)).Reading();
                await stranger.SendAsync(
                    System.Text.Encoding.ASCII.GetBytes($"GET /v1/devices/{Tunnel.Protocol.DeviceUuid.New()}/tunnel HTTP/1.1\r\nHost: tunnel.localhost\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer guessed\r\n\r\n"),
                    time);
                await stranger.StayAsync(time);
            }
        }).ToList();
        await first.SendAsync(static _ => new byte[1024], time);
        await Task.WhenAll(knocking);
        return first;
    }

    private async Task<Flood> OpenHttp2Async(CancellationToken time)
    {
        var options = TestGateway.TrustTestAuthority();
        options.TargetHost = TestGateway.Domain;
        options.RemoteCertificateValidationCallback = static (_, _, _, _) => true;
        options.CertificateChainPolicy = null;
        options.ApplicationProtocols = [SslApplicationProtocol.Http2];
        var tls = new SslStream(await ConnectAsync(httpsPort, time));
        await tls.AuthenticateAsClientAsync(options, CancellationToken.None);
        var flood = new Flood(tls);
        await flood.SendAsync((byte[])[.. Http2Writer.Preface, .. Http2Writer.Frame(Frame.Settings, 0, 0, [])], time);
        return flood;
    }

    private async Task<Stream> ConnectAsync(int port, CancellationToken time)
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.Bind(new IPEndPoint(IPAddress.Parse(address), 0));
        await socket.ConnectAsync(IPAddress.Loopback, port, CancellationToken.None);
        return new NetworkStream(socket, ownsSocket: true);
    }

    private static async Task TryWriteAsync(Stream stream, byte[] bytes)
    {
        try
        {
            await stream.WriteAsync(bytes);
        }
        catch (IOException)
        {
            // Cut off, as the first one will be.
        }
    }
}
