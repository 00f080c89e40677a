using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Crossing;

/// <summary>A forwarder does not touch a request's path and query (RFC 9110 section 7.7).</summary>
public sealed class TargetTests(SharedGateway shared)
{
    public static TheoryData<string> Targets =>
    [
        "/",
        "/?",
        "/a?",
        "/a%2Fb",
        "/a%2fb",
        "/%41%42",
        "/%ff%FE",
        "/%e2%82%ac",
        "//double//slash",
        "/a/./b/../c",
        "/a/..%2f..%2fetc",
        "/;v=1;w=2/x;y",
        "/a+b%20c",
        "/a?b=c&d=%26&e",
        "/a?q=http://other.example/?x=/../",
        "/a%0d%0ab",
        "/'()*,$!~@:=&",
        "/[1]{2}|3^4`5\"<>",
        "/%",
        "/%zz",
    ];

    [Theory]
    [MemberData(nameof(Targets))]
    public async Task A_target_crosses_byte_for_byte_from_an_HTTP_1_visitor(string target)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(shared.Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(shared.Gateway.HttpPort);

        await visitor.SendAsync($"GET {target} HTTP/1.1\r\nHost: {visit.Device.Host}\r\n\r\n");
        var head = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

        Assert.StartsWith($"GET {target} HTTP/1.1\r\n", head, StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 200 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Targets))]
    public async Task A_target_crosses_byte_for_byte_from_an_HTTP_2_visitor(string target)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(shared.Gateway, app);
        using var visitor = shared.Gateway.CreateVisitor(HttpVersion.Version20);

        var answer = visitor.GetAsync(visit.Url(HttpVersion.Version20, target));
        var head = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

        Assert.StartsWith($"GET {target} HTTP/1.1\r\n", head, StringComparison.Ordinal);
        using var response = await answer;
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    [Theory]
    [InlineData("http://{host}/a%2Fb?c=%41", "/a%2Fb?c=%41")]
    [InlineData("http://{host}", "/")]
    [InlineData("http://{host}?x=1", "/?x=1")]
    public async Task An_absolute_target_is_forwarded_as_its_path(string target, string expected)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(shared.Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(shared.Gateway.HttpPort);

        await visitor.SendAsync($"GET {target.Replace("{host}", visit.Device.Host, StringComparison.Ordinal)} HTTP/1.1\r\nHost: {visit.Device.Host}\r\n\r\n");
        var head = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

        Assert.StartsWith($"GET {expected} HTTP/1.1\r\n", head, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OPTIONS_star_asks_about_the_gateway_and_not_about_the_application()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(shared.Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(shared.Gateway.HttpPort);

        await visitor.SendAsync($"OPTIONS * HTTP/1.1\r\nHost: {visit.Device.Host}\r\nConnection: close\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", await visitor.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/caf\u00e9")]
    [InlineData("/a%00b")]
    public async Task A_target_that_is_no_URI_is_refused(string target)
    {
        await using var visitor = await RawConnection.OpenAsync(shared.Gateway.HttpPort);

        await visitor.SendAsync($"GET {target} HTTP/1.1\r\nHost: {new string('a', 32)}.{TestGateway.Domain}\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 400 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
    }
}
