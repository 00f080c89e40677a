using System.Buffers.Binary;
using System.Diagnostics;
using System.Net;
using System.Net.WebSockets;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Budgets;

/// <summary>WebSockets whose messages wait in memory: they have the limit and the end of other exchanges.</summary>
[Collection(nameof(Alone))]
public sealed class WebSocketBacklogTests(ITestOutputHelper output)
{
    // A mebibyte of the tunnel's window and what is on its way beside it: three of them fit.
    private const string Budget = "4194304";

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task WebSockets_that_their_visitors_do_not_read_give_way_to_later_ones_and_one_that_is_read_lives(string version)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:BufferedBytes"] = Budget, ["Storage:Timeout"] = "00:00:10" });
        var app = new SocketApp();
        await using var visit = await Visit.ToAsync(gateway, await app.StartAsync());
        await using var other = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        using var visitor = gateway.CreateVisitor();

        // Each stands still before the next one comes.
        var unread = new List<ClientWebSocket>();
        for (var i = 0; i < 8; i++)
        {
            unread.Add(await OpenAsync(visit, version, "/talk"));
            await Eventually.StillAsync(() => app.Sent, "nothing moves any more");
            Assert.Equal("here", await visitor.GetStringAsync(other.Url(HttpVersion.Version11)));
        }

        Assert.Equal(5, app.Ended);

        // One that is read waits for moments only; it pushes out one more at most.
        using var read = await OpenAsync(visit, version, "/talk");
        var buffer = new byte[64 * 1024];
        for (var received = 0; received < 32 * 1024 * 1024;)
        {
            received += (await read.ReceiveAsync(buffer, TestContext.Current.CancellationToken)).Count;
        }

        Assert.InRange(app.Ended, 5, 6);
        unread.ForEach(static socket => socket.Dispose());
    }

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task WebSockets_that_the_device_does_not_read_give_way_to_later_ones_and_their_visitors_are_told(string version)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:BufferedBytes"] = Budget, ["Storage:Timeout"] = "00:00:10" });
        var app = new SocketApp();
        await using var visit = await Visit.ToAsync(gateway, await app.StartAsync());
        await using var other = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        using var visitor = gateway.CreateVisitor();
        var sent = new long[1];

        // A request counts with 1.2 MiB: three fit. Each stands still before the next one comes.
        var talking = new List<Task>();
        var visitors = new List<IAsyncDisposable>();
        for (var i = 0; i < 8; i++)
        {
            talking.Add(version == "2.0" ? await TalkHttp2Async(visit, visitors, sent) : await TalkAsync(visit, visitors, sent));
            await Eventually.StillAsync(() => Interlocked.Read(ref sent[0]), "nothing moves any more");
            Assert.Equal("here", await visitor.GetStringAsync(other.Url(HttpVersion.Version11)));
        }

        await Eventually.TrueAsync(() => talking.Count(static one => one.IsCompleted) >= 5, "those that have waited longest are ended, and their visitors are told");

        // The last to come counts twice while its 101 is on its way and its messages come already; it may push out one more.
        var isEnded = talking.ConvertAll(static one => one.IsCompleted);
        var ended = isEnded.TakeWhile(static one => one).Count();
        Assert.InRange(ended, 5, 6);
        Assert.All(isEnded.Skip(ended), Assert.False);
        foreach (var one in visitors)
        {
            await one.DisposeAsync();
        }

        await Task.WhenAll(talking).ContinueWith(static _ => { }, TaskScheduler.Default);
    }

    // Both complete when the visitor is told.
    private static async Task<Task> TalkAsync(Visit visit, List<IAsyncDisposable> visitors, long[] sent)
    {
        var socket = await RawConnection.OpenAsync(visit.Gateway.HttpPort);
        visitors.Add(socket);
        await socket.SendAsync($"GET /deaf HTTP/1.1\r\nHost: {visit.Device.Host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 101 ", await socket.ReadHeadAsync(), StringComparison.Ordinal);
        return Task.Run(async () =>
        {
            var part = new string('x', 64 * 1024);
            try
            {
                while (true)
                {
                    await socket.SendAsync(part);
                    Interlocked.Add(ref sent[0], part.Length);
                }
            }
            catch (IOException)
            {
                // Ended.
            }
        });
    }

    private static async Task<Task> TalkHttp2Async(Visit visit, List<IAsyncDisposable> visitors, long[] sent)
    {
        var connection = await RawHttp2.OpenAsync(visit.Gateway, visit.Device.Host);
        visitors.Add(connection);
        await connection.SendAsync(
            Frame.Headers, Frame.EndHeaders, 1,
            RawHttp2.Encode((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/deaf"), (":authority", visit.Device.Host), ("sec-websocket-version", "13")));
        Assert.Equal(200, (await connection.ReadAsync(Frame.Headers))!.Status);
        return Task.Run(async () =>
        {
            // The gateway's SETTINGS_INITIAL_WINDOW_SIZE, and what every connection begins with (RFC 9113 section 6.9.2).
            var (ofStream, ofConnection) = (768 * 1024, 65_535);
            var part = new byte[16 * 1024];
            while (true)
            {
                if (Math.Min(ofStream, ofConnection) >= part.Length)
                {
                    await connection.SendAsync(Frame.Data, 0, 1, part);
                    (ofStream, ofConnection) = (ofStream - part.Length, ofConnection - part.Length);
                    Interlocked.Add(ref sent[0], part.Length);
                    continue;
                }

                var frame = await connection.ReadAsync(Frame.WindowUpdate, Frame.ResetStream, Frame.GoAway);
                if (frame is not { Type: Frame.WindowUpdate })
                {
                    return;
                }

                var more = BinaryPrimitives.ReadInt32BigEndian(frame.Payload);
                (ofStream, ofConnection) = frame.StreamId == 0 ? (ofStream, ofConnection + more) : (ofStream + more, ofConnection);
            }
        });
    }

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task A_WebSocket_that_its_visitor_stops_reading_is_ended_in_time_and_a_quiet_one_is_not(string version)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:StalledReadTimeout"] = "00:00:02", ["Storage:Timeout"] = "00:00:10" });
        var app = new SocketApp();
        await using var visit = await Visit.ToAsync(gateway, await app.StartAsync());
        using var quiet = await OpenAsync(visit, version, "/echo");
        using var unread = await OpenAsync(visit, version, "/talk");
        var opened = Stopwatch.GetTimestamp();

        await Eventually.TrueAsync(() => app.Ended == 1, "the one that nobody reads is ended");
        output.WriteLine($"ended after {Stopwatch.GetElapsedTime(opened).TotalSeconds:0.0} s");
        Assert.InRange(Stopwatch.GetElapsedTime(opened).TotalSeconds, 2, 20);

        await quiet.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        var buffer = new byte[100];
        for (var heard = 0; heard < 5;)
        {
            var part = await quiet.ReceiveAsync(buffer, TestContext.Current.CancellationToken);
            Assert.Equal(WebSocketMessageType.Text, part.MessageType);
            heard += part.Count;
        }
    }

    private static async Task<ClientWebSocket> OpenAsync(Visit visit, string httpVersion, string path)
    {
        var version = Version.Parse(httpVersion);
        var socket = new ClientWebSocket { Options = { HttpVersion = version, HttpVersionPolicy = HttpVersionPolicy.RequestVersionExact, KeepAliveInterval = TimeSpan.Zero } };
        var url = visit.Url(version, path);
        await socket.ConnectAsync(new Uri($"{(url.Scheme == "https" ? "wss" : "ws")}://{url.Authority}{path}"), new HttpMessageInvoker(visit.Gateway.CreateHandler()), TestContext.Current.CancellationToken);
        return socket;
    }

    /// <summary>An application that talks without end (<c>/talk</c>), says what it hears (<c>/echo</c>), or does not listen (<c>/deaf</c>).</summary>
    private sealed class SocketApp
    {
        private int _ended;
        private long _sent;

        /// <summary>How many WebSockets have broken off.</summary>
        public int Ended => Volatile.Read(ref _ended);

        /// <summary>How many bytes they have taken.</summary>
        public long Sent => Interlocked.Read(ref _sent);

        public Task<TestApp> StartAsync() => TestApp.StartAsync(
            static _ => { },
            app =>
            {
                app.UseWebSockets();
                app.Run(async context =>
                {
                    using var socket = await context.WebSockets.AcceptWebSocketAsync();
                    try
                    {
                        await ServeAsync(socket, context.Request.Path, context.RequestAborted);
                    }
                    catch (Exception exception) when (exception is WebSocketException or IOException or OperationCanceledException)
                    {
                        Interlocked.Increment(ref _ended);
                    }
                });
            });

        private async Task ServeAsync(WebSocket socket, string path, CancellationToken stop)
        {
            var buffer = new byte[64 * 1024];
            switch (path)
            {
                case "/deaf":
                    await TestApp.UntilAbortedAsync(stop);
                    break;
                case "/echo":
                    while (await socket.ReceiveAsync(buffer, stop) is { MessageType: not WebSocketMessageType.Close } heard)
                    {
                        await socket.SendAsync(buffer.AsMemory(0, heard.Count), heard.MessageType, heard.EndOfMessage, stop);
                    }

                    break;
                default:
                    while (true)
                    {
                        await socket.SendAsync(buffer, WebSocketMessageType.Binary, true, stop);
                        Interlocked.Add(ref _sent, buffer.Length);
                    }
            }
        }
    }
}
