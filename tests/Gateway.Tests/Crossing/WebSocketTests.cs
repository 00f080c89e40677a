using System.Net;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Crossing;

/// <summary>
/// WebSockets of HTTP/1.1 visitors (RFC 6455) and HTTP/2 visitors (RFC 8441): after the handshake every byte is the ends'
/// own affair.
/// </summary>
public sealed class WebSocketTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private static Task<TestApp> StartAppAsync(Func<WebSocket, HttpContext, Task> serve, bool deflate = false) => TestApp.StartAsync(
        static _ => { },
        app =>
        {
            app.UseWebSockets();
            app.Run(async context =>
            {
                if (context.Request.Path == "/refused")
                {
                    context.Response.StatusCode = StatusCodes.Status403Forbidden;
                    await context.Response.WriteAsync("not you");
                    return;
                }

                using var socket = await context.WebSockets.AcceptWebSocketAsync(new WebSocketAcceptContext
                {
                    DangerousEnableCompression = deflate,
                    SubProtocol = context.WebSockets.WebSocketRequestedProtocols.FirstOrDefault(),
                });
                await serve(socket, context);
            });
        });

    private static async Task EchoAsync(WebSocket socket, HttpContext context)
    {
        var buffer = new byte[64 * 1024];
        while (true)
        {
            var message = await socket.ReceiveAsync(buffer, context.RequestAborted);
            if (message.MessageType == WebSocketMessageType.Close)
            {
                await socket.CloseAsync(message.CloseStatus!.Value, $"{message.CloseStatusDescription}, too", context.RequestAborted);
                return;
            }

            await socket.SendAsync(buffer.AsMemory(0, message.Count), message.MessageType, message.EndOfMessage, context.RequestAborted);
        }
    }

    private static async Task<ClientWebSocket> OpenAsync(Visit visit, string httpVersion, Action<ClientWebSocketOptions>? configure = null, string path = "/")
    {
        var version = Version.Parse(httpVersion);
        var socket = new ClientWebSocket();
        socket.Options.HttpVersion = version;
        socket.Options.HttpVersionPolicy = HttpVersionPolicy.RequestVersionExact;
        socket.Options.CollectHttpResponseDetails = true;
        configure?.Invoke(socket.Options);
        var url = visit.Url(version, path);
        using var timeout = new CancellationTokenSource(Eventually.Patience);
        await socket.ConnectAsync(new Uri($"{(url.Scheme == "https" ? "wss" : "ws")}://{url.Authority}{url.PathAndQuery}"), new HttpMessageInvoker(visit.Gateway.CreateHandler()), timeout.Token);
        return socket;
    }

    private static async Task<(WebSocketReceiveResult Last, byte[] Message)> ReceiveAsync(WebSocket socket)
    {
        using var timeout = new CancellationTokenSource(Eventually.Patience);
        using var message = new MemoryStream();
        var buffer = new byte[16 * 1024];
        WebSocketReceiveResult part;
        do
        {
            part = await socket.ReceiveAsync(new ArraySegment<byte>(buffer), timeout.Token);
            message.Write(buffer, 0, part.Count);
        }
        while (!part.EndOfMessage);
        return (part, message.ToArray());
    }

    [Theory]
    [InlineData("1.1", false)]
    [InlineData("2.0", false)]
    [InlineData("1.1", true)]
    [InlineData("2.0", true)]
    public async Task Messages_and_the_close_cross_both_ways(string httpVersion, bool deflate)
    {
        await using var visit = await Visit.ToAsync(Gateway, await StartAppAsync(EchoAsync, deflate));
        using var socket = await OpenAsync(visit, httpVersion, options =>
        {
            options.AddSubProtocol("chat.v2");
            options.DangerousDeflateOptions = deflate ? new WebSocketDeflateOptions() : null;
        });
        Assert.Equal("chat.v2", socket.SubProtocol);
        Assert.Equal(deflate, socket.HttpResponseHeaders!.ContainsKey("Sec-WebSocket-Extensions"));

        await socket.SendAsync("grüße"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        var (text, textBytes) = await ReceiveAsync(socket);
        Assert.Equal(WebSocketMessageType.Text, text.MessageType);
        Assert.Equal("grüße", Encoding.UTF8.GetString(textBytes));

        var big = RandomNumberGenerator.GetBytes(1_000_000);
        var sending = socket.SendAsync(big, WebSocketMessageType.Binary, true, CancellationToken.None);
        var (binary, binaryBytes) = await ReceiveAsync(socket);
        await sending;
        Assert.Equal(WebSocketMessageType.Binary, binary.MessageType);
        Assert.Equal(big, binaryBytes);

        await socket.SendAsync("one "u8.ToArray(), WebSocketMessageType.Text, false, CancellationToken.None);
        await socket.SendAsync("and two"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        Assert.Equal("one and two", Encoding.UTF8.GetString((await ReceiveAsync(socket)).Message));

        await socket.CloseOutputAsync((WebSocketCloseStatus)4321, "that is all", CancellationToken.None);
        var (close, _) = await ReceiveAsync(socket);
        Assert.Equal(WebSocketMessageType.Close, close.MessageType);
        Assert.Equal((WebSocketCloseStatus)4321, close.CloseStatus);
        Assert.Equal("that is all, too", close.CloseStatusDescription);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Every_byte_after_the_handshake_crosses_as_it_is(string httpVersion)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        var opening = OpenRawAsync(visit, httpVersion);
        await using var connection = await app.AcceptAsync();
        var head = await connection.ReadHeadAsync();
        Assert.StartsWith("GET /socket?a=1 HTTP/1.1\r\n", head, StringComparison.Ordinal);
        Assert.Contains("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n", head, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("Sec-WebSocket-Version: 13\r\n", head, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("Origin: https://elsewhere.example\r\n", head, StringComparison.OrdinalIgnoreCase);

        // The first frame comes in one piece with the handshake, as some servers send it.
        await connection.SendAsync($"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {Accept(head)}\r\n\r\n\u0081\u0002hi");
        await using var visitor = await opening;
        Assert.Equal("\u0081\u0002hi", await visitor.ReadAsync(4));

        string[] frames =
        [
            "\u0089\u0085\u0001\u0002\u0003\u0004qking", // a ping with a payload
            "\u008a\u0080\u0001\u0002\u0003\u0004", // a pong that nobody asked for
            "\u0001\u0083\u0001\u0002\u0003\u0004abc", "\u0000\u0080\u0001\u0002\u0003\u0004", "\u0080\u0081\u0001\u0002\u0003\u0004z", // a text in three fragments, one empty
            "\u00c1\u0087\u0001\u0002\u0003\u0004\u00f3H\u00cd\u00c9\u00c9\u0007\u0000", // RSV1: deflated (RFC 7692)
            "\u0083\u0080\u0001\u0002\u0003\u0004", // an opcode that does not exist: not ours to judge
            "\u0088\u0086\u0001\u0002\u0003\u0004\u000f\u00a1bye!", // the close
        ];
        foreach (var frame in frames)
        {
            await visitor.SendAsync(frame);
            Assert.Equal(frame, await connection.ReadAsync(frame.Length));
            await connection.SendAsync(frame);
            Assert.Equal(frame, await visitor.ReadAsync(frame.Length));
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_refused_handshake_brings_the_applications_own_answer(string httpVersion)
    {
        await using var visit = await Visit.ToAsync(Gateway, await StartAppAsync(EchoAsync));

        var refusal = await Assert.ThrowsAsync<WebSocketException>(() => OpenAsync(visit, httpVersion, path: "/refused"));

        Assert.Contains("403", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_visitor_that_vanishes_is_noticed_by_the_application(string httpVersion)
    {
        var gone = new TaskCompletionSource<bool>();
        await using var visit = await Visit.ToAsync(Gateway, await StartAppAsync(async (socket, context) =>
        {
            try
            {
                await socket.ReceiveAsync(new ArraySegment<byte>(new byte[1]), CancellationToken.None);
            }
            catch (WebSocketException)
            {
                gone.TrySetResult(true);
            }
        }));
        var socket = await OpenAsync(visit, httpVersion);

        socket.Abort();

        Assert.True(await Eventually.ResultAsync(gone.Task, "the application notices"));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_application_that_vanishes_is_noticed_by_the_visitor(string httpVersion)
    {
        await using var visit = await Visit.ToAsync(Gateway, await StartAppAsync(static async (socket, context) =>
        {
            await socket.ReceiveAsync(new ArraySegment<byte>(new byte[1]), CancellationToken.None);
            context.Abort();
        }));
        using var socket = await OpenAsync(visit, httpVersion);
        await socket.SendAsync("x"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);

        await Assert.ThrowsAsync<WebSocketException>(() => ReceiveAsync(socket));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_quiet_socket_outlives_every_limit(string httpVersion)
    {
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Edge:ResponseTimeout"] = "00:00:02",
            ["Listen:KeepAliveTimeout"] = "00:00:02",
            ["Listen:RequestHeadersTimeout"] = "00:00:02",
            ["Listen:StalledReadTimeout"] = "00:00:02",
        });
        await using var visit = await Visit.ToAsync(gateway, await StartAppAsync(EchoAsync));
        using var socket = await OpenAsync(visit, httpVersion);

        await Task.Delay(TimeSpan.FromSeconds(4));
        await socket.SendAsync("still here"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);

        Assert.Equal("still here", Encoding.UTF8.GetString((await ReceiveAsync(socket)).Message));
    }

    [Fact]
    public async Task A_switch_that_was_not_asked_for_is_a_failure_of_the_application()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor();

        var asking = visitor.GetAsync(visit.Url(HttpVersion.Version11));
        _ = await app.AnswerOnceAsync("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        using var response = await asking;

        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Equal("gateway; error=http_protocol_error", Assert.Single(response.Headers.GetValues("Proxy-Status")));
    }

    [Fact]
    public async Task A_switch_to_something_else_than_was_asked_for_is_a_failure_of_the_application()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync(Handshake(visit, "websocket"));
        _ = await app.AnswerOnceAsync("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tls/1.0\r\nConnection: Upgrade\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 502 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_offer_of_h2c_is_served_over_what_the_visitor_speaks_already()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
        var head = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain");

        Assert.DoesNotContain("h2c", head, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("HTTP2-Settings", head, StringComparison.OrdinalIgnoreCase);
        Assert.StartsWith("HTTP/1.1 200 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
        Assert.Equal("plain", await visitor.ReadAsync(5));
    }

    [Fact]
    public async Task An_upgrade_to_another_protocol_cannot_cross_and_is_refused_by_name()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync(Handshake(visit, "tls/1.0"));

        var head = await visitor.ReadHeadAsync();
        Assert.StartsWith("HTTP/1.1 501 ", head, StringComparison.Ordinal);
        Assert.Contains("Proxy-Status: gateway; error=http_upgrade_failed\r\n", head, StringComparison.Ordinal);
    }

    private static string Handshake(Visit visit, string protocol) =>
        $"GET /socket?a=1 HTTP/1.1\r\nHost: {visit.Device.Host}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://elsewhere.example\r\n" +
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

    /// <summary>Opens a WebSocket and gives its bytes.</summary>
    private static async Task<RawConnection> OpenRawAsync(Visit visit, string httpVersion)
    {
        if (httpVersion == "1.1")
        {
            var visitor = await RawConnection.OpenAsync(visit.Gateway.HttpPort);
            await visitor.SendAsync(Handshake(visit, "websocket"));
            var head = await visitor.ReadHeadAsync();
            Assert.StartsWith("HTTP/1.1 101 ", head, StringComparison.Ordinal);
            Assert.Contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head, StringComparison.OrdinalIgnoreCase);
            return visitor;
        }

        using var request = new HttpRequestMessage(HttpMethod.Connect, visit.Url(HttpVersion.Version20, "/socket?a=1"))
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.Protocol = "websocket";
        request.Headers.TryAddWithoutValidation("Sec-WebSocket-Version", "13");
        request.Headers.TryAddWithoutValidation("Origin", "https://elsewhere.example");
        request.Headers.TryAddWithoutValidation("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
        var response = await new HttpMessageInvoker(visit.Gateway.CreateHandler()).SendAsync(request, CancellationToken.None);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        return new RawConnection(await response.Content.ReadAsStreamAsync());
    }

#pragma warning disable CA5350 // RFC 6455 section 4.2.2 asks for SHA-1.
    private static string Accept(string head)
    {
        var key = head.Split("\r\n").First(static line => line.StartsWith("Sec-WebSocket-Key:", StringComparison.OrdinalIgnoreCase)).Split(':')[1].Trim();
        return Convert.ToBase64String(SHA1.HashData(Encoding.ASCII.GetBytes(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    }
#pragma warning restore CA5350
}
