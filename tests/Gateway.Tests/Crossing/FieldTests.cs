using System.Net;
using System.Text;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Crossing;

/// <summary>Field values are bytes that cross; fields of one connection stay on it.</summary>
public sealed class FieldTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private const string Ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    /// <summary>Sends one request from a visitor of the given version and gives what the application saw and the visitor got.</summary>
    private async Task<(string Seen, HttpResponseMessage Answer)> ExchangeAsync(string httpVersion, Action<HttpRequestMessage> prepare, string answer = Ok)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version, static handler =>
        {
            handler.RequestHeaderEncodingSelector = static (_, _) => Encoding.Latin1;
            handler.ResponseHeaderEncodingSelector = static (_, _) => Encoding.Latin1;
        });
        using var request = new HttpRequestMessage(HttpMethod.Get, visit.Url(version)) { Version = version };
        prepare(request);
        var sending = visitor.SendAsync(request);
        var seen = await app.AnswerOnceAsync(answer);
        return (seen, await sending);
    }

    // UTF-8 as the bytes it is, every one of which is a Latin-1 character.
    private static string Bytes(string utf8) => Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(utf8));

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Bytes_beyond_ASCII_cross_in_both_directions(string version)
    {
        var (seen, answer) = await ExchangeAsync(
            version,
            static request => request.Headers.TryAddWithoutValidation("X-Name", Bytes("Zürich 東京 €")),
            $"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Back: {Bytes("łódź ñ")}\r\nX-Odd: \u00ff\u0080\r\n\r\n");

        using (answer)
        {
            Assert.Contains($"X-Name: {Bytes("Zürich 東京 €")}\r\n", seen, StringComparison.OrdinalIgnoreCase);
            Assert.Equal(Bytes("łódź ñ"), Assert.Single(answer.Headers.NonValidated["X-Back"]));
            Assert.Equal("\u00ff\u0080", Assert.Single(answer.Headers.NonValidated["X-Odd"]));
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Odd_values_cross_byte_for_byte(string version)
    {
        const string odd = "a, \"b\\\"c\", =d;e='f' <g> {h}|i^j`k%20";
        var (seen, answer) = await ExchangeAsync(
            version,
            static request =>
            {
                request.Headers.TryAddWithoutValidation("X-Odd", odd);
                request.Headers.TryAddWithoutValidation("X-Empty", "");
                request.Headers.TryAddWithoutValidation("User-Agent", "weird (unbalanced");
                request.Headers.TryAddWithoutValidation("Accept", "*/*;q=nonsense");
                request.Headers.TryAddWithoutValidation("If-None-Match", "unquoted");
            },
            $"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Odd: {odd}\r\nDate: yesterday\r\nServer: mine (odd\r\n\r\n");

        using (answer)
        {
            Assert.Contains($"X-Odd: {odd}\r\n", seen, StringComparison.OrdinalIgnoreCase);
            Assert.Matches("(?i)X-Empty: ?\r\n", seen);
            Assert.Contains("User-Agent: weird (unbalanced\r\n", seen, StringComparison.OrdinalIgnoreCase);
            Assert.Contains("Accept: */*;q=nonsense\r\n", seen, StringComparison.OrdinalIgnoreCase);
            Assert.Contains("If-None-Match: unquoted\r\n", seen, StringComparison.OrdinalIgnoreCase);
            Assert.Equal(odd, Assert.Single(answer.Headers.NonValidated["X-Odd"]));
            Assert.Equal("yesterday", Assert.Single(answer.Headers.NonValidated["Date"]));
            Assert.Equal("mine (odd", Assert.Single(answer.Headers.NonValidated["Server"]));
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Repeated_fields_cross_in_their_order(string version)
    {
        var (seen, answer) = await ExchangeAsync(
            version,
            static request => request.Headers.TryAddWithoutValidation("X-Many", ["one", "two", "three"]),
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Many: 1\r\nSet-Cookie: a=1; Path=/\r\nX-Many: 2\r\nSet-Cookie: b=2, with a comma\r\nSet-Cookie: a=3\r\nWarning: 199 - x\r\n\r\n");

        using (answer)
        {
            var values = seen.Split("\r\n").Where(static line => line.StartsWith("X-Many:", StringComparison.OrdinalIgnoreCase)).Select(static line => line[7..].Trim());
            Assert.Equal("one,two,three", string.Join(',', values).Replace(" ", "", StringComparison.Ordinal));
            Assert.Equal(["1", "2"], answer.Headers.NonValidated["X-Many"]);
            Assert.Equal(["a=1; Path=/", "b=2, with a comma", "a=3"], answer.Headers.NonValidated["Set-Cookie"]);
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Cookies_reach_the_application_as_one_field(string version)
    {
        var (seen, answer) = await ExchangeAsync(version, static request => request.Headers.TryAddWithoutValidation("Cookie", "a=1; b=\"2 3\"; c="));
        answer.Dispose();

        Assert.Contains("Cookie: a=1; b=\"2 3\"; c=\r\n", seen, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Thirty_two_kilobytes_of_fields_cross_in_both_directions(string version)
    {
        var value = new string('v', 1000);
        var back = string.Concat(Enumerable.Range(0, 32).Select(i => $"X-Back-{i}: {value}{i}\r\n"));
        var (seen, answer) = await ExchangeAsync(
            version,
            request =>
            {
                for (var i = 0; i < 31; i++)
                {
                    request.Headers.Add($"X-Big-{i}", value + i);
                }
            },
            $"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{back}\r\n");

        using (answer)
        {
            for (var i = 0; i < 31; i++)
            {
                Assert.Contains($"X-Big-{i}: {value}{i}\r\n", seen, StringComparison.OrdinalIgnoreCase);
                Assert.Equal(value + i, Assert.Single(answer.Headers.GetValues($"X-Back-{i}")));
            }
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task The_host_stays_the_public_one(string version)
    {
        var host = "";
        var (seen, answer) = await ExchangeAsync(version, request => host = request.RequestUri!.Host);
        answer.Dispose();

        Assert.Contains($"Host: {host}\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Single(seen.Split("\r\n"), static line => line.StartsWith("Host:", StringComparison.OrdinalIgnoreCase));
    }

    [Theory]
    [InlineData("1.1", "http")]
    [InlineData("2.0", "https")]
    public async Task The_device_is_told_who_the_visitor_is_and_not_what_it_claims(string version, string proto)
    {
        var host = "";
        var (seen, answer) = await ExchangeAsync(version, request =>
        {
            host = request.RequestUri!.Host;
            request.Headers.TryAddWithoutValidation("X-Forwarded-For", "6.6.6.6");
            request.Headers.TryAddWithoutValidation("X-Forwarded-Proto", "gopher");
            request.Headers.TryAddWithoutValidation("X-Forwarded-Host", "evil.example");
            request.Headers.TryAddWithoutValidation("X-Forwarded-Port", "1");
            request.Headers.TryAddWithoutValidation("X-Forwarded-Prefix", "/evil");
            request.Headers.TryAddWithoutValidation("X-Real-IP", "6.6.6.6");
            request.Headers.TryAddWithoutValidation("Forwarded", "for=6.6.6.6;host=evil.example");
        });
        answer.Dispose();

        Assert.Contains("X-Forwarded-For: 127.0.0.1\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains($"X-Forwarded-Proto: {proto}\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains($"X-Forwarded-Host: {host}\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains($"Forwarded: for=127.0.0.1;host={host};proto={proto}\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("6.6.6.6", seen, StringComparison.Ordinal);
        Assert.DoesNotContain("evil", seen, StringComparison.Ordinal);
        Assert.DoesNotContain("gopher", seen, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_trusted_proxy_is_believed()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:TrustedProxies:0"] = "127.0.0.0/8" });
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(gateway, app);
        await using var visitor = await RawConnection.OpenAsync(gateway.HttpPort);

        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nX-Forwarded-For: 203.0.113.9, 2001:db8::7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n\r\n");
        var seen = await app.AnswerOnceAsync(Ok);

        Assert.Contains("X-Forwarded-For: 203.0.113.9, 2001:db8::7, 127.0.0.1\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("X-Forwarded-Proto: https\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains($"Forwarded: for=203.0.113.9, for=\"[2001:db8::7]\", for=127.0.0.1;host={visit.Device.Host};proto=https\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("evil", seen, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_trace_context_reaches_the_application(string version)
    {
        const string traceId = "0af7651916cd43dd8448eb211c80319c";
        var (seen, answer) = await ExchangeAsync(version, static request =>
        {
            request.Headers.TryAddWithoutValidation("traceparent", $"00-{traceId}-b7ad6b7169203331-01");
            request.Headers.TryAddWithoutValidation("tracestate", "vendor=1");
        });
        answer.Dispose();

        Assert.Matches($"(?i)traceparent: 00-{traceId}-[0-9a-f]{{16}}-0[01]\r\n", seen);
        Assert.Contains("tracestate: vendor=1\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Single(seen.Split("\r\n"), static line => line.StartsWith("traceparent:", StringComparison.OrdinalIgnoreCase));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_request_without_a_trace_gets_one(string version)
    {
        var (seen, answer) = await ExchangeAsync(version, static _ => { });
        answer.Dispose();

        Assert.Matches("(?i)traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\r\n", seen);
    }

    // The server keeps only what it understands of the first three.
    [Theory]
    [InlineData("Connection: keep-alive, X-Private, Authorization")]
    [InlineData("Connection: x-private ,close")]
    [InlineData("connection: keep-alive\r\nConnection: X-Private")]
    [InlineData("Connection: X-Private")]
    public async Task Fields_of_one_connection_stay_on_it_in_both_directions(string connection)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync(
            $"GET / HTTP/1.1\r\nHost: {visit.Device.Host}\r\n{connection}\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n" +
            "Proxy-Connection: keep-alive\r\nX-Public: 1\r\n\r\n");
        var seen = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Hidden\r\nX-Hidden: 1\r\nKeep-Alive: timeout=9\r\nX-Shown: 1\r\n\r\n");
        var head = await visitor.ReadHeadAsync();

        Assert.DoesNotContain("X-Private", seen, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("timeout=5", seen, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("Proxy-Connection", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("X-Public: 1\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("X-Hidden", head, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("timeout=9", head, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("X-Shown: 1\r\n", head, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task What_a_device_says_stays_within_its_own_host(string version)
    {
        var (_, answer) = await ExchangeAsync(
            version,
            static _ => { },
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" +
            $"Set-Cookie: parent=1; Domain={TestGateway.Domain}\r\nSet-Cookie: dotted=1; path=/; dOmAiN = .{TestGateway.Domain.ToUpperInvariant()}\r\nSet-Cookie: above=1; Domain=localhost\r\nSet-Cookie: own=1; Path=/\r\n" +
            "Alt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=9; includeSubDomains\r\nProxy-Status: gateway; error=destination_not_found\r\n\r\n");

        using (answer)
        {
            Assert.Equal(["own=1; Path=/"], answer.Headers.NonValidated["Set-Cookie"]);
            Assert.False(answer.Headers.Contains("Alt-Svc"));
            Assert.False(answer.Headers.Contains("Strict-Transport-Security"));
            Assert.False(answer.Headers.Contains("Proxy-Status"));
        }
    }

    [Fact]
    public async Task A_policy_for_the_device_s_own_host_stays()
    {
        var (_, answer) = await ExchangeAsync("2.0", static _ => { }, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=9\r\nSet-Cookie: a=1\r\n\r\n");

        using (answer)
        {
            Assert.Equal("max-age=9", Assert.Single(answer.Headers.GetValues("Strict-Transport-Security")));
            Assert.Equal("a=1", Assert.Single(answer.Headers.GetValues("Set-Cookie")));
        }
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_application_cannot_pose_as_the_agent(string version)
    {
        var (_, answer) = await ExchangeAsync(
            version, static _ => { }, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nProxy-Status: gateway-agent; error=connection_refused\r\n\r\nok");

        using (answer)
        {
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.Equal("ok", await answer.Content.ReadAsStringAsync());
        }
    }

    [Fact]
    public async Task Nothing_of_the_gateway_s_is_added_to_an_application_s_answer()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: {visit.Device.Host}\r\n\r\n");
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\nX-Only: this\r\n\r\n");
        var lines = (await visitor.ReadHeadAsync()).Split("\r\n", StringSplitOptions.RemoveEmptyEntries);

        Assert.Equal(["Content-Length: 0", "Date: Mon, 23 Nov 2026 00:00:00 GMT", "HTTP/1.1 200 OK", "X-Only: this"], lines.Order(StringComparer.Ordinal), StringComparer.OrdinalIgnoreCase);
    }
}
