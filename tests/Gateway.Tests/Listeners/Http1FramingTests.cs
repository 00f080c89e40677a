using System.Text;
using Gateway.Listeners.Http1;

namespace Gateway.Tests.Listeners;

public sealed class Http1FramingTests
{
    private const string Get = "GET /a HTTP/1.1\r\nHost: a\r\n";
    private const string Post = "POST /a HTTP/1.1\r\nHost: a\r\n";
    private const string Chunked = Post + "Transfer-Encoding: chunked\r\n\r\n";

    public static TheoryData<string, string> Refused => new()
    {
        // Content-Length.
        { Post + "Content-Length: +5\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: -0\r\n\r\n", "Content-Length is not" },
        { Post + "Content-Length: 5, 5\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: 5,5\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: 1 5\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length:\r\n\r\n", "Content-Length is not" },
        { Post + "Content-Length: \t \r\n\r\n", "Content-Length is not" },
        { Post + "Content-Length: 0x5\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: \"5\"\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: 5\0\r\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: 5\n\r\nhello", "Content-Length is not" },
        { Post + "Content-Length: 5\r \n\r\nhello", "bare CR" },
        { Post + "Content-Length: 9223372036854775808\r\n\r\n", "too large" },
        { Post + "Content-Length: 99999999999999999999999\r\n\r\n", "too large" },
        { Post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "more than one Content-Length" },
        { Post + "Content-Length: 5\r\ncOnTeNt-LeNgTh: 6\r\n\r\nhello", "more than one Content-Length" },
        { Post + "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", "more than one Content-Length" },

        // Transfer-Encoding.
        { Post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both" },
        { Post + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", "both" },
        { Post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunked chunked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chun ked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunke\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunkedd\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: identity\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding:\r\n\r\n", "not exactly chunked" },
        { Post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "more than one Transfer-Encoding" },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0" },

        // Field lines.
        { Get + "X-A: b\rc\r\n\r\n", "bare CR in field X-A" },
        { Get + "X-A: b\r\r\n\r\n", "bare CR in field X-A" },
        { Get + "X-A: b\n\r\n", "bare LF in field X-A" },
        { Get + "X-A: b\nX-C: d\r\n\r\n", "bare LF in field X-A" },
        { Get + "X-A: b\r\n\n", "bare LF in a field line" },
        { Get + "\n", "bare LF in a field line" },
        { Get + "X-A\n: b\r\n\r\n", "bare LF" },
        { Get + "\rX-A: b\r\n\r\n", "bare CR" },
        { Get + "X-A: b\r\n folded\r\n\r\n", "folded" },
        { Get + "X-A: b\r\n\tfolded\r\n\r\n", "folded" },
        { "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded" },
        { Get + ": b\r\n\r\n", "empty field name" },
        { Get + "X A: b\r\n\r\n", "white space" },
        { Get + "X-A : b\r\n\r\n", "white space" },
        { Get + "X-A\t: b\r\n\r\n", "white space" },
        { Post + "Content-Length : 5\r\n\r\nhello", "white space" },
        { Get + "X-A\r\n\r\n", "without a colon" },
        { Get + "X(A): b\r\n\r\n", "not a token" },
        { Get + "X\0A: b\r\n\r\n", "not a token" },
        { Get + "X\u00e4A: b\r\n\r\n", "not a token" },
        { Get + "\0\r\n\r\n", "not a token" },
        { Get + "X-A: b\0c\r\n\r\n", "control character in field X-A" },
        { Get + "X-A: \u0001\r\n\r\n", "control character in field X-A" },
        { Get + "X-A:\u007f\r\n\r\n", "control character in field X-A" },
        { Get + "X-A: b\u001f\r\n\r\n", "control character in field X-A" },
        { Get + "X-A: b\v\r\n\r\n", "control character in field X-A" },
        { Get + "A-Name-That-Is-Longer-Than-The-Buffer-For-It: \0\r\n\r\n", "control character in field A-Name-That-Is-Longer-Than-The-B..." },
        { Get + "Upgrade: \0\r\n\r\n", "control character in field Upgrade" },
        { Get + "Host: a\r\n\r\n", "more than one Host" },
        { Get + "hOST: b\r\n\r\n", "more than one Host" },

        // Request lines.
        { "GET  / HTTP/1.1\r\n\r\n", "request target" },
        { "GET /  HTTP/1.1\r\n\r\n", "request line does not end in the version" },
        { "GET / HTTP/1.1 \r\n\r\n", "CRLF after the version" },
        { " GET / HTTP/1.1\r\n\r\n", "request line has to start" },
        { "GET\t/ HTTP/1.1\r\n\r\n", "method" },
        { "GET /\tHTTP/1.1\r\n\r\n", "request target" },
        { "GET /\r\n\r\n", "request target" },
        { "GET\r\n\r\n", "method" },
        { "GET / HTTP/1.1\n\r\n", "CRLF after the version" },
        { "GET / HTTP/1.1\r\r\n\r\n", "bare CR in the request line" },
        { "GET / HTTP/1.2\r\n\r\n", "version" },
        { "GET / HTTP/2.0\r\n\r\n", "version" },
        { "GET / http/1.1\r\n\r\n", "version" },
        { "GET / HTTP/1\r\n\r\n", "version" },
        { "GET / HTTP/1.10\r\n\r\n", "CRLF after the version" },
        { "G(T / HTTP/1.1\r\n\r\n", "method" },
        { "(GET / HTTP/1.1\r\n\r\n", "method" },
        { "GET /\0 HTTP/1.1\r\n\r\n", "request target" },
        { "GET \0/ HTTP/1.1\r\n\r\n", "request target" },
        { "GET /\u007f HTTP/1.1\r\n\r\n", "request target" },
        { "GET /\u00e4 HTTP/1.1\r\n\r\n", "request target" },
        { "\u0016\u0003\u0001", "method" },
        { "\r\n\r\nGET / HTTP/1.1\r\n\r\n", "empty line" },
        { "\nGET / HTTP/1.1\r\n\r\n", "empty line" },
        { "\rGET / HTTP/1.1\r\n\r\n", "bare CR" },
        { Get + "\r\n\r\n\r\n" + Get + "\r\n", "empty line" },
        { "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version" },
        { "PRI *a HTTP/2.0\r\n\r\nSM\r\n\r\n", "version" },
        { "PRI / HTTP/2.0\r\n\r\nSM\r\n\r\n", "version" },
        { "PRX * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version" },
        { Get + "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version" },

        // Chunks.
        { Chunked + "+5\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + ";a=b\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + " 5\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "0x5\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5 \r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5 ;a\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5\t\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5 5;a\r\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5\nhello\r\n0\r\n\r\n", "chunk size" },
        { Chunked + "5\rhello\r\n0\r\n\r\n", "bare CR in a chunk line" },
        { Chunked + "5;a=\"b;c\\\"d\"\rx\r\nhello\r\n0\r\n\r\n", "bare CR in a chunk line" },
        { Chunked + "5;a\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a\0\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;;a\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a \r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a b\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a=\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a=b=c\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a=\"b\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "5;a=\"b\\\"\r\nhello\r\n0\r\n\r\n", "chunk extension" },
        { Chunked + "00000000000000005\r\nhello\r\n0\r\n\r\n", "chunk size is too large" },
        { Chunked + "8000000000000000\r\n", "chunk size is too large" },
        { Chunked + "FFFFFFFFFFFFFFFF\r\n", "chunk size is too large" },
        { Chunked + "5;" + new string('a', 4096) + "\r\nhello\r\n0\r\n\r\n", "chunk line is too long" },
        { Chunked + "5\r\nhello0\r\n\r\n", "chunk data" },
        { Chunked + "5\r\nhello\n0\r\n\r\n", "chunk data" },
        { Chunked + "5\r\nhello\r0\r\n\r\n", "chunk data" },
        { Chunked + "4\r\nhello\r\n0\r\n\r\n", "chunk data" },
        { Chunked + "0\r\n\n", "bare LF in a field line" },

        // Trailers.
        { Chunked + "0\r\nContent-Length: 5\r\n\r\n", "Content-Length in the trailer" },
        { Chunked + "0\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in the trailer" },
        { Chunked + "0\r\nHost: a\r\n\r\n", "Host in the trailer" },
        { Chunked + "0\r\nX-A: b\nX-C: d\r\n\r\n", "bare LF in field X-A" },
        { Chunked + "0\r\n X-A: b\r\n\r\n", "folded" },
        { Chunked + "0\r\nX-A : b\r\n\r\n", "white space" },

        // After valid requests.
        { Get + "\r\n" + Post + "Content-Length: 5\r\n\r\nhello" + Chunked + "1\r\na\r\n0\r\n\r\n" + Post + "Content-Length: +5\r\n\r\n", "Content-Length is not" },
        { Post + "Content-Length: 4\r\n\r\nhell(" + Get + "\r\n", "method is not a token" },
        { Post + "Connection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n", "chunk size" },
    };

    public static TheoryData<string, int> Accepted => new()
    {
        { Get + "\r\n", 1 },
        { "\r\n" + Get + "\r\n", 1 },
        { "GET / HTTP/1.0\r\n\r\n", 1 },
        { Get + "\r\n" + Get + "\r\n\r\n" + Get + "\r\n", 3 },
        { "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1 },
        { "M-SEARCH!#$%&'*+.^_`|~ /?a=%20#x HTTP/1.1\r\nHost:a\r\n\r\n", 1 },
        { "GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", 1 },
        { "PRI / HTTP/1.1\r\nHost: a\r\n\r\n", 1 },
        { Get + "X-A:\r\nX-B: \t \r\nX-C: a\tb\u0080\u00ff\r\nX!#$%&'*+-.^_`|~1:b\r\n\r\n", 1 },
        { Get + "X-Content-Length: +5\r\nContent-LengthX: +5\r\nContent-Lengt: a\r\n\r\n", 1 },
        { Get + "A-Name-That-Is-Longer-Than-The-Buffer-For-It: b\r\nA-Name-That-Is-Longer-Than-The-Buffer-For-It: b\r\n\r\n", 1 },
        { Post + "Content-Length: 0\r\n\r\n", 1 },
        { Post + "Content-Length:5\r\n\r\nhello", 1 },
        { Post + "Content-Length: \t 00000000000000000000000005\t \r\n\r\nhello" + Get + "\r\n", 2 },
        { Post + "content-length: 20\r\n\r\nContent-Length: +5\r\n" + Get + "\r\n", 2 },
        { Post + "Content-Length: 3\r\n\r\n\0\n\r" + Get + "\r\n", 2 },
        { "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 1 },
        { Chunked + "0\r\n\r\n" + Get + "\r\n", 2 },
        { Post + "TRANSFER-ENCODING: \tChUnKeD \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1 },
        { Chunked + "5\r\nhello\r\n00000000000000A\r\n\r\n+5\r\n\0\n\r \r\n0\r\n\r\n" + Get + "\r\n", 2 },
        { Chunked + "5;a=b\r\nhello\r\n5; a = \"b;c\"\t;d\r\nhello\r\n0;last\r\n\r\n" + Get + "\r\n", 2 },
        { Chunked + "5;" + new string('a', 4094) + "\r\nhello\r\n0\r\n\r\n", 1 },
        { Chunked + "aF\r\n" + new string('x', 0xaf) + "\r\n0\r\nX-A: b\r\nUpgrade: x\r\n\r\n" + Get + "\r\n", 2 },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void An_ambiguous_request_is_refused_however_it_is_cut(string input, string reason)
    {
        var result = ObserveEverySplit(input);

        Assert.NotNull(result.Violation);
        Assert.Contains(reason, result.Violation, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Accepted))]
    public void A_plain_request_is_accepted_however_it_is_cut(string input, int requests)
    {
        var result = ObserveEverySplit(input);

        Assert.Null(result.Violation);
        Assert.Equal(requests, CountRequests(input));
        Assert.Equal(input.Length, result.MessageStart);
    }

    [Theory]
    [InlineData(Post + "Content-Length: 9223372036854775807\r\n\r\n")]
    [InlineData(Chunked + "7FFFFFFFFFFFFFFF\r\n")]
    public void The_largest_length_is_followed(string input)
    {
        var result = ObserveEverySplit(input + "Content-Length: +5\r\n\r\n");

        Assert.Null(result.Violation);
        Assert.Equal(0, result.MessageStart);
    }

    [Theory]
    [InlineData(Get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")]
    [InlineData(Get + "uPGRADE:\r\n\r\n")]
    [InlineData("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")]
    [InlineData(Post + "Upgrade: h2c\r\nContent-Length: 5\r\n\r\nhello")]
    [InlineData(Chunked + "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding", "Upgrade: x\r\nTransfer-Encoding")]
    public void What_follows_a_request_for_another_protocol_is_opaque(string input, string replaced = "\0", string by = "")
    {
        input = input.Replace(replaced, by, StringComparison.Ordinal);
        var result = ObserveEverySplit(Get + "\r\n" + input + "\0\r\n\n POST Content-Length: +5\r\n\r\n");

        Assert.Null(result.Violation);
        Assert.True(result.LastRequest);
        Assert.Equal(Get.Length + 2, result.MessageStart);
        Assert.Equal(Get.Length + 2 + input.Length, result.OpaqueStart);
    }

    [Theory]
    [InlineData("connect a:443 HTTP/1.1\r\nHost: a\r\n\r\n")]
    [InlineData(Get + "X-Upgrade: a\r\nUpgrades: b\r\n\r\n")]
    public void A_request_that_only_looks_like_an_upgrade_is_followed_by_requests(string input)
    {
        var result = ObserveEverySplit(input + "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n");

        Assert.NotNull(result.Violation);
        Assert.False(result.LastRequest);
        Assert.Equal(input.Length, result.MessageStart);
    }

    [Fact]
    public void The_preface_of_HTTP_2_makes_the_connection_opaque()
    {
        var result = ObserveEverySplit("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u0012\u0004\0\0\0\0\0");

        Assert.Null(result.Violation);
        Assert.False(result.LastRequest);
        Assert.Equal(long.MaxValue, result.OpaqueStart);
    }

    [Fact]
    public void A_violation_in_a_head_has_no_body_start_and_one_in_a_body_has()
    {
        Assert.Equal(long.MaxValue, ObserveEverySplit(Post + "Content-Length: +5\r\n\r\n").BodyStart);
        Assert.Equal(Chunked.Length, ObserveEverySplit(Chunked + "+5\r\n").BodyStart);
    }

    [Fact]
    public void Every_byte_value_is_allowed_where_the_grammar_says_so_and_nowhere_else()
    {
        const string TokenMarks = "!#$%&'*+-.^_`|~";
        for (var value = 0; value < 256; value++)
        {
            var c = (char)value;
            var isToken = char.IsAsciiLetterOrDigit(c) || TokenMarks.Contains(c, StringComparison.Ordinal);
            var isText = value is '\t' or (>= 0x20 and not 0x7f);
            Assert.Equal(isToken, Accepts($"G{c}T / HTTP/1.1\r\n\r\n"));
            Assert.Equal(isToken, Accepts($"{c} / HTTP/1.1\r\n\r\n"));
            Assert.Equal(value is > 0x20 and < 0x7f, Accepts($"GET {c} HTTP/1.1\r\n\r\n"));
            Assert.Equal(value is > 0x20 and < 0x7f, Accepts($"GET /{c}a HTTP/1.1\r\n\r\n"));
            Assert.Equal(isToken || c == ':', Accepts($"GET / HTTP/1.1\r\nX{c}Y: b\r\n\r\n"));
            Assert.Equal(isToken, Accepts($"GET / HTTP/1.1\r\n{c}: b\r\n\r\n"));
            Assert.Equal(isText, Accepts($"GET / HTTP/1.1\r\nX: a{c}b\r\n\r\n"));
            Assert.Equal(isToken || c is ';' or '=', Accepts($"{Chunked}1;a{c}b\r\nx\r\n0\r\n\r\n"));
            Assert.Equal(isToken || c is ' ' or '\t', Accepts($"{Chunked}1;{c}a={c}b\r\nx\r\n0\r\n\r\n"));
            Assert.Equal(isText && c is not ('"' or '\\'), Accepts($"{Chunked}1;a=\"{c}\"\r\nx\r\n0\r\n\r\n"));
            Assert.Equal(isText, Accepts($"{Chunked}1;a=\"\\{c}\"\r\nx\r\n0\r\n\r\n"));
            Assert.Equal(char.IsAsciiHexDigit(c), Accepts($"{Chunked}{c}"));
            Assert.Equal(char.IsAsciiHexDigit(c), Accepts($"{Chunked}0{c}\r\n"));
            Assert.Equal(char.IsAsciiDigit(c), Accepts($"{Post}Content-Length: 1{c}1\r\n\r\n"));
            Assert.Equal(char.IsAsciiDigit(c) || c is ' ' or '\t', Accepts($"{Post}Content-Length: 1{c}\r\n\r\n"));
            Assert.Equal(c is ' ' or '\t', Accepts($"{Post}Transfer-Encoding: chunked{c}\r\n\r\n"));
            Assert.Equal(c is ' ' or '\t', Accepts($"{Post}Transfer-Encoding:{c}chunked\r\n\r\n"));
        }
    }

    [Fact]
    public void Damaged_requests_are_judged_alike_however_they_are_cut()
    {
        var random = new Random(20260101);
        var plain = Encoding.Latin1.GetBytes(
            Get + "\r\n" + Post + "Content-Length: 5\r\n\r\nhello" + Chunked + "5;a\r\nhello\r\n0\r\nX-A: b\r\n\r\n" + Get + "Upgrade: x\r\n\r\n");
        var interesting = "\r\n \t:;,+-05aAfF\0\u007f\u00ff/"u8.ToArray();
        for (var round = 0; round < 20_000; round++)
        {
            var bytes = plain.ToList();
            for (var change = random.Next(1, 3); change > 0; change--)
            {
                var at = random.Next(bytes.Count);
                if (random.Next(3) == 0)
                    bytes.RemoveAt(at);
                else if (random.Next(2) == 0)
                    bytes.Insert(at, interesting[random.Next(interesting.Length)]);
                else
                    bytes[at] = interesting[random.Next(interesting.Length)];
            }

            var parts = new List<byte[]>();
            for (var at = 0; at < bytes.Count; at += parts[^1].Length)
                parts.Add([.. bytes.Skip(at).Take(random.Next(1, 40))]);
            Assert.Equal(Result.Of([[.. bytes]]), Result.Of(parts));
        }
    }

    [Fact]
    public void Nothing_is_allocated_while_requests_are_fine()
    {
        var bytes = Encoding.Latin1.GetBytes(Get + "\r\n" + Chunked + "5;a\r\nhello\r\n0\r\nX-A: b\r\n\r\n" + Post + "Content-Length: 5\r\n\r\nhello");
        var framing = new Http1Framing();
        framing.Observe(bytes);
        var before = GC.GetAllocatedBytesForCurrentThread();

        for (var i = 0; i < 100; i++)
            framing.Observe(bytes);

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
        Assert.Null(framing.Violation);
    }

    private static bool Accepts(string input) => ObserveEverySplit(input).Violation is null;

    private static int CountRequests(string input)
    {
        var framing = new Http1Framing();
        var requests = 0;
        var start = 0L;
        foreach (var value in Encoding.Latin1.GetBytes(input))
        {
            framing.Observe([value]);
            if (framing.MessageStart != start)
                requests++;
            start = framing.MessageStart;
        }

        return requests;
    }

    // Whole, byte by byte, and in two parts at every place: the results must be the same.
    private static Result ObserveEverySplit(string input)
    {
        var bytes = Encoding.Latin1.GetBytes(input);
        var whole = Result.Of([bytes]);
        Assert.Equal(whole, Result.Of(bytes.Select(value => new[] { value })));
        for (var at = 1; at < bytes.Length; at++)
            Assert.Equal(whole, Result.Of([bytes[..at], bytes[at..]]));
        Assert.Equal(bytes.Length, whole.Position);
        return whole;
    }

    private sealed record Result(string? Violation, long Position, long MessageStart, long BodyStart, long OpaqueStart, bool LastRequest)
    {
        public static Result Of(IEnumerable<byte[]> parts)
        {
            var framing = new Http1Framing();
            foreach (var part in parts)
            {
                var fine = framing.Observe(part);
                Assert.Equal(framing.Violation is null, fine);
            }

            return new(framing.Violation, framing.Position, framing.MessageStart, framing.BodyStart, framing.OpaqueStart, framing.LastRequest);
        }
    }
}
