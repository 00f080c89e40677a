using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Gateway.Listeners.Http1;
using BadHttpRequestException = Microsoft.AspNetCore.Http.BadHttpRequestException;

namespace Gateway.Tests.Listeners;

public sealed class StrictHttp1Tests
{
    private const string Get = "GET /a HTTP/1.1\r\nHost: a\r\n";
    private const string Post = "POST /a HTTP/1.1\r\nHost: a\r\n";
    private const string Chunked = Post + "Transfer-Encoding: chunked\r\n\r\n";

    public static TheoryData<string> BadHeads => new(
        Post + "Content-Length: +5\r\n\r\nhello",
        Post + "Content-Length: -0\r\n\r\n",
        Post + "Content-Length: 5, 5\r\n\r\nhello",
        Post + "Content-Length:\r\n\r\n",
        Post + "Content-Length: 99999999999999999999999\r\n\r\n",
        Post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        Post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Post + "Transfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Get + "X-A: b\rc\r\n\r\n",
        Get + "X-A: b\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        Get + "X-A: b\r\n folded\r\n\r\n",
        Get + ": b\r\n\r\n",
        Get + "X-A : b\r\n\r\n",
        Get + "X-A\r\n\r\n",
        Get + "X(A: b\r\n\r\n",
        Get + "X-A: b\u0001c\r\n\r\n",
        Get + "X-A: b\u007f\r\n\r\n",
        Get + "Host: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / \r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u0001 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\n" + Get + "\r\n",
        "\n" + Get + "\r\n");

    public static TheoryData<string> BadBodies => new(
        "+5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5;a\u0001\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "8000000000000000\r\n",
        "5\r\nhello\r\n0\r\nX-A: b\nX-C: d\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-A: b\u0001\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\nHost: a\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n");

    [Theory]
    [MemberData(nameof(BadHeads))]
    public async Task A_violation_in_a_head_is_answered_with_400_and_the_end_of_the_connection(string request)
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(request + Get + "\r\n");

        AssertRefused(server, response);
        Assert.Empty(server.Served);
    }

    [Theory]
    [MemberData(nameof(BadHeads))]
    public async Task A_violation_in_a_head_that_arrives_byte_by_byte_is_answered_with_400(string request)
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();

        var sending = SendSlowlyAsync(client, request);
        var response = await client.ReadToEndAsync();
        await sending;

        AssertRefused(server, response);
        Assert.Empty(server.Served);
    }

    [Theory]
    [MemberData(nameof(BadBodies))]
    public async Task A_violation_in_a_chunked_body_that_comes_with_the_head_is_answered_with_400(string body)
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(Chunked + body + Get + "\r\n");

        AssertRefused(server, response);
        Assert.DoesNotContain("GET /a", server.Served);
    }

    [Theory]
    [MemberData(nameof(BadBodies))]
    public async Task A_violation_in_a_chunked_body_that_comes_while_the_application_reads_is_answered_with_400(string body)
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();
        await client.SendAsync(Post + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        await client.ReadUntilAsync("HTTP/1.1 100 Continue\r\n\r\n");

        await client.SendAsync(body + Get + "\r\n");

        AssertRefused(server, await client.ReadToEndAsync());
        Assert.Equal(["POST /a"], server.Served);
    }

    [Fact]
    public async Task A_violation_in_a_body_after_the_response_has_started_ends_the_connection()
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();
        await client.SendAsync(Chunked.Replace("/a", "/early", StringComparison.Ordinal) + "5\r\nhello\r\n");
        Assert.StartsWith("HTTP/1.1 200 OK\r\n", await client.ReadUntilAsync("early"), StringComparison.Ordinal);

        await client.SendAsync("+5\r\nhello\r\n0\r\n\r\n" + Get + "\r\n");
        var rest = await client.ReadToEndAsync();

        Assert.DoesNotContain("HTTP/1.1", rest, StringComparison.Ordinal);
        Assert.DoesNotContain("\r\n0\r\n\r\n", rest, StringComparison.Ordinal);
        Assert.Equal(["POST /early"], server.Served);
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Theory]
    [InlineData("/unread", "unread")]
    [InlineData("/stubborn", "caught 400")]
    public async Task No_request_is_served_after_a_body_with_a_violation_whatever_the_application_does(string path, string answer)
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();
        await client.SendAsync($"POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        await client.ReadUntilAsync(path == "/unread" ? answer : "100 Continue\r\n\r\n");

        await client.SendAsync("5\r\nhello\n0\r\n\r\n" + Get + "\r\n");
        var rest = await client.ReadToEndAsync();

        if (path != "/unread")
            Assert.Contains(answer, rest, StringComparison.Ordinal);
        Assert.Equal([$"POST {path}"], server.Served);
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Theory]
    [InlineData(Post + "Content-Length: +5\r\n\r\nhello")]
    [InlineData(Chunked + "+5\r\nhello\r\n0\r\n\r\n")]
    public async Task Requests_before_the_refused_one_are_served(string refused)
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(
            Get + "\r\n" + Chunked + "5\r\nhello\r\n0\r\n\r\n" + Post + "Content-Length: 5\r\n\r\nhello" + Get + "\r\n" + refused + Get + "\r\n");

        Assert.Equal(4, Count(response, "HTTP/1.1 200 OK\r\n"));
        Assert.Equal(1, Count(response, "HTTP/1.1 400 Bad Request\r\n"));
        Assert.Equal(["GET /a", "POST /a", "POST /a", "GET /a"], server.Served);
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Fact]
    public async Task The_refusal_names_the_rule()
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(Post + "Content-Length: +5\r\n\r\nhello");

        Assert.Contains("Content-Length is not a plain decimal number", response, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_application_may_write_the_refusals_itself()
    {
        await using var server = await GuardedServer.StartAsync(write: (context, violation) =>
        {
            context.Response.Headers.Connection = "keep-alive";
            return context.Response.WriteAsync($"[{violation}]");
        });
        await using var client = await server.ConnectAsync();
        await client.SendAsync(Post + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        await client.ReadUntilAsync("100 Continue\r\n\r\n");
        await client.SendAsync("5\n");
        var inBody = await client.ReadToEndAsync();
        var inHead = await server.ExchangeAsync(Get + "Content-Length: +0\r\n\r\n" + Get + "\r\n");

        AssertRefused(server, inBody);
        Assert.Contains("[chunk size ", inBody, StringComparison.Ordinal);
        AssertRefused(server, inHead);
        Assert.Contains("[Content-Length is not ", inHead, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pipelined_and_kept_alive_requests_with_every_kind_of_body_are_served()
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();
        for (var round = 0; round < 3; round++)
        {
            await client.SendAsync(
                Get + "X-A: \t\u00c3\u00a4 b\t\r\n\r\n"
                + "\r\n" + Post + "Content-Length:  005 \r\n\r\nhello"
                + Chunked + "5;x=\"y\"\r\nhello\r\n00000000\r\nX-A: t\r\n\r\n"
                + Post + "Content-Length: 20\r\n\r\nContent-Length: +5\r\n"
                + Chunked + "14\r\nContent-Length: +5\r\n\r\n0\r\n\r\n"
                + "DELETE /last HTTP/1.1\r\nHost: a\r\n\r\n");

            var response = await client.ReadUntilAsync("DELETE /last HTTP/1.1 0 " + Hash("") + "\n\r\n0\r\n\r\n");

            Assert.Equal(6, Count(response, "HTTP/1.1 200 OK\r\n"));
            Assert.Contains($"POST /a HTTP/1.1 5 {Hash("hello")} X-A=t\n", response, StringComparison.Ordinal);
            Assert.Equal(2, Count(response, $"POST /a HTTP/1.1 20 {Hash("Content-Length: +5\r\n")}\n"));
        }

        await client.SendAsync(Get + "Connection: close\r\n\r\n");
        Assert.Contains("GET /a HTTP/1.1 0", await client.ReadToEndAsync(), StringComparison.Ordinal);
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Fact]
    public async Task Requests_that_arrive_byte_by_byte_are_served()
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();

        await SendSlowlyAsync(client, Get + "\r\n\r\n" + Chunked + "5; a\r\nhello\r\n0\r\nX-A: t\r\n\r\n" + Get + "Connection: close\r\n\r\n");

        Assert.Equal(3, Count(await client.ReadToEndAsync(), "HTTP/1.1 200 OK\r\n"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Bodies_of_a_megabyte_arrive_unchanged(bool chunked)
    {
        await using var server = await GuardedServer.StartAsync();
        await using var client = await server.ConnectAsync();
        var body = new string([.. Enumerable.Range(0, 1 << 20).Select(i => (char)((i * 31) & 0xff))]);
        var request = chunked
            ? Chunked + string.Concat(body.Chunk(70_001).Select(chunk => $"{chunk.Length:x}\r\n{new string(chunk)}\r\n")) + "0\r\n\r\n"
            : Post + $"Content-Length: {body.Length}\r\n\r\n{body}";
        for (var round = 0; round < 2; round++)
        {
            var sending = client.SendAsync(request);
            var response = await client.ReadUntilAsync("\n\r\n0\r\n\r\n");
            await sending;

            Assert.Contains($"POST /a HTTP/1.1 {body.Length} {Hash(body)}\n", response, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_WebSocket_echoes_frames_that_are_no_HTTP()
    {
        await using var server = await GuardedServer.StartAsync();
        using var patience = new CancellationTokenSource(GuardedServer.Patience);
        using var socket = new ClientWebSocket();
        await socket.ConnectAsync(new Uri($"ws://127.0.0.1:{server.Port}/ws"), patience.Token);
        var buffer = new byte[100];
        for (var round = 0; round < 3; round++)
        {
            await socket.SendAsync(Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n\0"), WebSocketMessageType.Binary, true, patience.Token);
            var got = await socket.ReceiveAsync(buffer, patience.Token);
            Assert.Equal("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\n\0", Encoding.ASCII.GetString(buffer, 0, got.Count));
        }

        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, patience.Token);
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Theory]
    [InlineData(Get + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")]
    [InlineData(Get + "Upgrade: h2c\r\n\r\n")]
    [InlineData("GET /connection HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n")]
    [InlineData("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")]
    [InlineData(Post + "Upgrade: h2c\r\nContent-Length: 5\r\n\r\nhello")]
    public async Task A_refused_upgrade_is_the_last_request_of_its_connection(string request)
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(Get + "\r\n" + request + Get + "\r\n");

        Assert.Equal(2, server.Served.Count);
        Assert.Equal(2, Count(response, "HTTP/1.1 200 OK\r\n"));
        Assert.Equal(1, Count(response, "Connection: close\r\n"));
        Assert.True(response.IndexOf("Connection: close\r\n", StringComparison.Ordinal) > response.LastIndexOf("HTTP/1.1 200", StringComparison.Ordinal));
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    [Fact]
    public async Task A_chunk_violation_in_a_request_for_an_upgrade_is_refused()
    {
        await using var server = await GuardedServer.StartAsync();

        var response = await server.ExchangeAsync(Post + "Upgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n");

        AssertRefused(server, response);
    }

    [Fact]
    public async Task Over_TLS_HTTP_2_is_left_alone_and_HTTP_1_is_guarded()
    {
        await using var server = await GuardedServer.StartAsync(HttpProtocols.Http1AndHttp2, tls: true);
        using var handler = new SocketsHttpHandler { SslOptions = new() { RemoteCertificateValidationCallback = server.IsItsCertificate } };
        using var http = Http2Only(handler);
        for (var round = 0; round < 3; round++)
            Assert.StartsWith("GET /a HTTP/2 0 ", await http.GetStringAsync($"https://127.0.0.1:{server.Port}/a"), StringComparison.Ordinal);

        await using var plain = await server.ConnectAsync();
        await using var tls = new SslStream(plain.Stream, false, server.IsItsCertificate);
        await tls.AuthenticateAsClientAsync("localhost");
        await using var client = new GuardedServer.Client(tls);
        await client.SendAsync(Post + "Content-Length: 5\r\n\r\nhello" + Post + "Content-Length: +5\r\n\r\nhello");
        var response = await client.ReadToEndAsync();

        Assert.Equal(1, Count(response, "HTTP/1.1 200 OK\r\n"));
        Assert.Equal(1, Count(response, "HTTP/1.1 400 Bad Request\r\n"));
    }

    [Fact]
    public async Task HTTP_2_with_prior_knowledge_is_left_alone()
    {
        await using var server = await GuardedServer.StartAsync(HttpProtocols.Http2);
        using var http = Http2Only(new SocketsHttpHandler());
        using var body = new ByteArrayContent(new byte[100_000]);

        using var response = await http.PostAsync($"http://127.0.0.1:{server.Port}/a", body);

        Assert.StartsWith("POST /a HTTP/2 100000 ", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.StartsWith("GET /a HTTP/2 0 ", await http.GetStringAsync($"http://127.0.0.1:{server.Port}/a"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_preface_of_HTTP_2_on_an_HTTP_1_endpoint_serves_no_request()
    {
        await using var server = await GuardedServer.StartAsync();

        await server.ExchangeAsync("PRI * HTTP/2.0\r\n\r\n" + Get + "\r\n");

        Assert.Empty(server.Served);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(4096)]
    public async Task The_reader_hands_through_the_same_bytes_and_positions_and_sees_each_byte_once(int segment)
    {
        var sent = Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat(Chunked + "5\r\nhello\r\n0\r\n\r\n" + Get + "\r\n", 20)));
        var received = new ArrayBufferWriter<byte>();
        using var memory = new SmallBlocks(segment);
        var pipe = new Pipe(new PipeOptions(memory, pauseWriterThreshold: 0, minimumSegmentSize: 1, useSynchronizationContext: false));
        await pipe.Writer.WriteAsync(sent);
        await pipe.Writer.CompleteAsync();
        StrictHttp1Feature? feature = null;
        await RunAsync(pipe, async connection =>
        {
            feature = connection.Features.Get<StrictHttp1Feature>();
            var reader = connection.Transport.Input;
            for (var step = 1; ; step = (step % 5) + 1)
            {
                var result = step % 2 == 0 && reader.TryRead(out var ready) ? ready : await reader.ReadAsync();
                var take = Math.Min(step == 5 ? 0 : step, result.Buffer.Length);
                foreach (var memory in result.Buffer.Slice(0, take))
                    received.Write(memory.Span);
                if (step == 5)
                    reader.AdvanceTo(default, default);
                else
                    reader.AdvanceTo(result.Buffer.GetPosition(take), result.Buffer.GetPosition(take));
                if (result.IsCompleted && received.WrittenCount == sent.Length)
                    break;
            }
        });

        Assert.Equal(sent, received.WrittenSpan.ToArray());
        Assert.Null(feature!.Violation);
        Assert.False(feature.LastRequest);
    }

    [Fact]
    public async Task The_violation_concerns_the_request_that_has_it_and_the_body_reads_fail_only_in_that_one()
    {
        var pipe = new Pipe();
        await pipe.Writer.WriteAsync(Encoding.ASCII.GetBytes(Get + "\r\n" + Chunked + "+5\r\n"));
        await RunAsync(pipe, async connection =>
        {
            var feature = connection.Features.Get<StrictHttp1Feature>()!;
            var reader = connection.Transport.Input;
            var result = await reader.ReadAsync();
            reader.AdvanceTo(result.Buffer.GetPosition(Get.Length + 2));
            Assert.Null(feature.Violation);

            Assert.True(reader.TryRead(out result));
            reader.AdvanceTo(result.Buffer.GetPosition(Chunked.Length));
            Assert.NotNull(feature.Violation);
            for (var round = 0; round < 2; round++)
            {
                Assert.Equal(400, Assert.Throws<BadHttpRequestException>(() => reader.TryRead(out _)).StatusCode);
                Assert.Equal(400, (await Assert.ThrowsAsync<BadHttpRequestException>(async () => await reader.ReadAsync())).StatusCode);
            }
        });
    }

    [Fact]
    public async Task A_second_request_after_one_for_another_protocol_is_a_violation_even_if_the_connection_went_on()
    {
        var pipe = new Pipe();
        var upgrade = Get + "Upgrade: x\r\n\r\n";
        await pipe.Writer.WriteAsync(Encoding.ASCII.GetBytes(upgrade + Get + "\r\n"));
        await RunAsync(pipe, async connection =>
        {
            var feature = connection.Features.Get<StrictHttp1Feature>()!;
            var reader = connection.Transport.Input;
            var result = await reader.ReadAsync();
            Assert.False(feature.LastRequest);
            reader.AdvanceTo(result.Buffer.GetPosition(upgrade.Length));
            Assert.True(feature.LastRequest);
            Assert.Null(feature.Violation);

            result = await reader.ReadAsync();
            reader.AdvanceTo(result.Buffer.End);
            Assert.NotNull(feature.Violation);
        });
    }

    private static async Task RunAsync(Pipe pipe, Func<ConnectionContext, Task> server)
    {
        await using var services = new ServiceCollection().BuildServiceProvider();
        var connections = new ConnectionBuilder(services);
        connections.UseStrictHttp1().Run(server);
        await using var connection = new DefaultConnectionContext("1", new Duplex(pipe), new Duplex(pipe));
        await connections.Build()(connection);
        Assert.Same(pipe.Reader, connection.Transport.Input);
    }

    private static HttpClient Http2Only(SocketsHttpHandler handler) => new(handler)
    {
        Timeout = GuardedServer.Patience,
        DefaultRequestVersion = HttpVersion.Version20,
        DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
    };

    private static async Task SendSlowlyAsync(GuardedServer.Client client, string text)
    {
        try
        {
            foreach (var value in text)
                await client.SendAsync(value.ToString());
        }
        catch (IOException exception) when (exception.InnerException is SocketException)
        {
            // The server may end the connection at the first bad byte.
        }
    }

    private static void AssertRefused(GuardedServer server, string response)
    {
        Assert.StartsWith("HTTP/1.1 400 Bad Request\r\n", response, StringComparison.Ordinal);
        Assert.Contains("Connection: close\r\n", response, StringComparison.Ordinal);
        Assert.Equal(1, Count(response, "HTTP/1.1 "));
        Assert.Equal("", string.Concat(server.Log.WarningsAndErrors));
    }

    private static int Count(string text, string part) => text.Split(part).Length - 1;

    private static string Hash(string text) => Convert.ToHexString(SHA256.HashData(Encoding.Latin1.GetBytes(text)));

    private sealed class Duplex(Pipe pipe) : IDuplexPipe
    {
        public PipeReader Input => pipe.Reader;

        public PipeWriter Output => pipe.Writer;
    }

    // So that one write makes many segments.
    private sealed class SmallBlocks(int size) : MemoryPool<byte>
    {
        public override int MaxBufferSize => size;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1) => new Block(size);

        protected override void Dispose(bool disposing)
        {
        }

        private sealed class Block(int size) : IMemoryOwner<byte>
        {
            public Memory<byte> Memory { get; } = new byte[size];

            public void Dispose()
            {
            }
        }
    }
}
