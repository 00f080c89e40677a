using System.Net;
using System.Text.Json;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.BadInput;

/// <summary>What is ambiguous, too large or no HTTP is refused at the edge, and no byte of it reaches a device.</summary>
public sealed class RequestTests(SharedGateway shared)
{
    private sealed class Witness : IAsyncDisposable
    {
        private int _requests;

        public required Visit Visit { get; init; }

        public int Requests => Volatile.Read(ref _requests);

        public static async Task<Witness> StartAsync(TestGateway gateway)
        {
            Witness? witness = null;
            var app = await TestApp.StartAsync(context =>
            {
                Interlocked.Increment(ref witness!._requests);
                return context.Response.WriteAsync($"{context.Request.Path}");
            });
            return witness = new Witness { Visit = await Visit.ToAsync(gateway, app) };
        }

        public async Task<string> SendAsync(string request)
        {
            await using var visitor = await RawConnection.OpenAsync(Visit.Gateway.HttpPort);
            await visitor.SendAsync(request.Replace("{host}", Visit.Device.Host, StringComparison.Ordinal));
            return await visitor.ReadToEndAsync();
        }

        public ValueTask DisposeAsync() => Visit.DisposeAsync();
    }

    [Theory]
    [InlineData("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")]
    [InlineData("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")]
    [InlineData("Content-Length: 5, 5\r\n\r\nhello")]
    [InlineData("Content-Length: +5\r\n\r\nhello")]
    [InlineData("Content-Length: 5 \t5\r\n\r\nhello")]
    [InlineData("Content-Length: 0x5\r\n\r\nhello")]
    [InlineData("Content-Length: -1\r\n\r\n")]
    [InlineData("Content-Length: 99999999999999999999\r\n\r\n")]
    [InlineData("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: identity\r\n\r\n")]
    [InlineData("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5;\0\r\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5;a=\"\r\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")]
    [InlineData("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n")]
    [InlineData("X-Folded: a\r\n b\r\n\r\n")]
    [InlineData("X-Bare: a\nX-Other: b\r\n\r\n")]
    [InlineData("X-Bare: a\rb\r\n\r\n")]
    [InlineData("X Blank: a\r\n\r\n")]
    [InlineData("X-Control: a\u0001b\r\n\r\n")]
    [InlineData("X-Null: a\0b\r\n\r\n")]
    [InlineData(": nameless\r\n\r\n")]
    public async Task An_ambiguous_request_is_refused_and_what_follows_it_is_not_a_request(string rest)
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync($"POST / HTTP/1.1\r\nHost: {{host}}\r\n{rest}GET /smuggled HTTP/1.1\r\nHost: {{host}}\r\n\r\n");

        // One answer, and the end of the connection.
        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Equal(1, answer.Split("HTTP/1.1 ").Length - 1);
        Assert.DoesNotContain("smuggled", answer, StringComparison.Ordinal);

        // A violation in a content is seen only once its head is on the way: the request breaks off, and is no complete one.
        Assert.InRange(witness.Requests, 0, 1);
    }

    [Theory]
    [InlineData("GET /\r\n\r\n")]
    [InlineData("GET / HTTP/2.0\r\nHost: {host}\r\n\r\n")]
    [InlineData("GET / HTTP/1.2\r\nHost: {host}\r\n\r\n")]
    [InlineData("GET / http/1.1\r\nHost: {host}\r\n\r\n")]
    [InlineData("GET  / HTTP/1.1\r\nHost: {host}\r\n\r\n")]
    [InlineData("G@T / HTTP/1.1\r\nHost: {host}\r\n\r\n")]
    [InlineData("GET relative HTTP/1.1\r\nHost: {host}\r\n\r\n")]
    [InlineData("\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003\r\n\r\n")]
    [InlineData("SSH-2.0-OpenSSH_9.2\r\n\r\n")]
    public async Task What_is_no_request_is_refused(string request)
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync(request);

        Assert.Contains(answer.Length == 0 ? "" : answer[9..12], new[] { "", "400", "405", "505" });
        Assert.Equal(0, witness.Requests);
    }

    [Fact]
    public async Task A_refusal_says_which_rule_was_broken_in_a_problem_document()
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\nhello");

        Assert.Contains("Content-Type: application/problem+json\r\n", answer, StringComparison.Ordinal);
        Assert.Contains("Proxy-Status: gateway; error=http_request_error\r\n", answer, StringComparison.Ordinal);
        using var problem = JsonDocument.Parse(answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]);
        Assert.Equal("urn:device-gateway:problem:bad-request", problem.RootElement.GetProperty("type").GetString());
        Assert.Contains("Content-Length", problem.RootElement.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(70_000, 1)]
    [InlineData(100, 900)]
    public async Task A_head_beyond_the_limit_gets_431(int length, int count)
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync(
            $"GET / HTTP/1.1\r\nHost: {{host}}\r\n{string.Concat(Enumerable.Range(0, count).Select(i => $"X-{i}: {new string('a', length)}\r\n"))}\r\n");

        Assert.StartsWith("HTTP/1.1 431 ", answer, StringComparison.Ordinal);
        Assert.Equal(0, witness.Requests);
    }

    [Fact]
    public async Task A_head_beyond_the_limit_over_HTTP_2_reaches_nobody()
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);
        using var visitor = shared.Gateway.CreateVisitor(HttpVersion.Version20);
        using var request = new HttpRequestMessage(HttpMethod.Get, witness.Visit.Url(HttpVersion.Version20)) { Version = HttpVersion.Version20 };
        request.Headers.Add("X-Large", new string('a', 100_000));

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => visitor.SendAsync(request));
        Assert.Equal(0, witness.Requests);
    }

    [Fact]
    public async Task A_target_beyond_the_limit_gets_414()
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        Assert.StartsWith("HTTP/1.1 414 ", await witness.SendAsync($"GET /{new string('a', 20_000)} HTTP/1.1\r\nHost: {{host}}\r\n\r\n"), StringComparison.Ordinal);
        Assert.Equal(0, witness.Requests);
    }

    [Fact]
    public async Task A_content_beyond_a_configured_limit_gets_413()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:MaxRequestBodyBytes"] = "1000" });
        await using var witness = await Witness.StartAsync(gateway);

        Assert.StartsWith("HTTP/1.1 413 ", await witness.SendAsync("POST / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 1001\r\n\r\n"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 200 ", await witness.SendAsync($"POST / HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{new string('a', 1000)}"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task CONNECT_is_no_way_through()
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync("CONNECT {host}:80 HTTP/1.1\r\nHost: {host}:80\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 405 ", answer, StringComparison.Ordinal);
        Assert.Contains("\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n", answer, StringComparison.Ordinal);
        Assert.Contains("method-not-allowed", answer, StringComparison.Ordinal);
        Assert.Equal(0, witness.Requests);
    }

    [Theory]
    [InlineData("h2c", "HTTP/1.1 200 ")]
    [InlineData("ptth", "HTTP/1.1 501 ")]
    [InlineData("tcp", "HTTP/1.1 501 ")]
    public async Task Only_a_WebSocket_may_change_the_protocol(string protocol, string status)
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);

        var answer = await witness.SendAsync($"GET / HTTP/1.1\r\nHost: {{host}}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");

        Assert.StartsWith(status, answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("x-control", "a\u0001b")]
    [InlineData("x-return", "a\rb")]
    [InlineData("x-feed", "a\nb")]
    [InlineData("x-null", "a\0b")]
    [InlineData("x-delete", "a\u007fb")]
    [InlineData("X-Upper", "a")]
    [InlineData("x blank", "a")]
    [InlineData("connection", "keep-alive")]
    [InlineData("transfer-encoding", "chunked")]
    [InlineData("te", "gzip")]
    [InlineData(":unknown", "a")]
    public async Task A_field_that_HTTP_2_forbids_reaches_nobody(string name, string value)
    {
        await using var witness = await Witness.StartAsync(shared.Gateway);
        await using var visitor = await RawHttp2.OpenAsync(shared.Gateway, witness.Visit.Device.Host);

        await visitor.RequestAsync(1, (":method", "GET"), (":scheme", "https"), (":authority", witness.Visit.Device.Host), (":path", "/"), (name, value));

        var answer = (await visitor.ReadAsync(Frame.Headers, Frame.ResetStream, Frame.GoAway))!;
        Assert.True(answer.Type != Frame.Headers || answer.Status == 400, $"It was answered with {Convert.ToHexString(answer.Payload)}.");
        Assert.Equal(0, witness.Requests);
    }
}
