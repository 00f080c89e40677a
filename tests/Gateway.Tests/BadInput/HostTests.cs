using System.Net;
using System.Text.RegularExpressions;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.BadInput;

/// <summary>Which host is which device: the request's authority says it (RFC 9110 section 7.2), and nothing else does.</summary>
public sealed partial class HostTests(SharedGateway shared)
{
    private static Task<TestApp> AppAsync() => TestApp.StartAsync(static context => context.Response.WriteAsync($"app at {context.Request.Host}"));

    private static async Task<string> SendAsync(int port, string request)
    {
        await using var visitor = await RawConnection.OpenAsync(port);
        await visitor.SendAsync(request);
        return await visitor.ReadToEndAsync();
    }

    [Theory]
    [InlineData("{uuid}.gateway.localhost")]
    [InlineData("{UUID}.GATEWAY.LocalHost")]
    [InlineData("{uuid}.gateway.localhost.")]
    [InlineData("{uuid}.gateway.localhost:8080")]
    [InlineData("{uuid}.gateway.localhost.:443")]
    public async Task A_device_is_found_in_any_case_with_port_and_trailing_dot(string host)
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());
        host = host.Replace("{uuid}", $"{visit.Device.Uuid}", StringComparison.Ordinal).Replace("{UUID}", $"{visit.Device.Uuid}".ToUpperInvariant(), StringComparison.Ordinal);

        var answer = await SendAsync(shared.Gateway.HttpPort, $"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        Assert.Contains($"app at {host}", answer, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task A_device_with_an_identity_of_62_digits_is_found()
    {
        var uuid = Tunnel.Protocol.DeviceUuid.Parse(string.Concat(Enumerable.Repeat("0123456789abcdef", 4))[..30] + $"{Guid.NewGuid():N}");
        var device = await shared.Gateway.AddDeviceAsync(uuid: uuid);
        await using var app = await AppAsync();
        await using var agent = await shared.Gateway.ConnectAsync(device, app.Url);
        using var visitor = shared.Gateway.CreateVisitor();

        Assert.Equal($"app at {device.Host}", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
    }

    [Theory]
    [InlineData("unknown.gateway.localhost")]
    [InlineData("0123456789abcdef0123456789abcde.gateway.localhost")] // 31
    [InlineData("0123456789abcdef0123456789abcdef0.gateway.localhost")] // 33
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc.gateway.localhost")] // 61
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde.gateway.localhost")] // 63
    [InlineData("0123456789abcdef0123456789abcdeg.gateway.localhost")]
    [InlineData("01234567-89ab-cdef-0123-456789abcdef.gateway.localhost")]
    [InlineData("gateway.localhost")]
    [InlineData("admin.gateway.localhost")]
    [InlineData("{uuid}")]
    [InlineData("{uuid}.localhost")]
    [InlineData("{uuid}.other.example")]
    [InlineData("{uuid}.gateway.localhost.other.example")]
    [InlineData("{uuid}.gateway.localhost..")]
    [InlineData("www.{uuid}.gateway.localhost")]
    [InlineData("8080-{uuid}.gateway.localhost")]
    [InlineData("{uuid}gateway.localhost")]
    [InlineData("127.0.0.1")]
    [InlineData("[::1]")]
    [InlineData("[::1]:8080")]
    [InlineData("")]
    public async Task A_host_that_is_no_device_s_gets_the_answer_of_a_disabled_one(string host)
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());
        var disabled = await shared.Gateway.AddDeviceAsync(publicUrl: false);

        var expected = await SendAsync(shared.Gateway.HttpPort, $"GET / HTTP/1.1\r\nHost: {disabled.Host}\r\nConnection: close\r\n\r\n");
        var answer = await SendAsync(
            shared.Gateway.HttpPort, $"GET / HTTP/1.1\r\nHost: {host.Replace("{uuid}", $"{visit.Device.Uuid}", StringComparison.Ordinal)}\r\nConnection: close\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 404 ", answer, StringComparison.Ordinal);
        Assert.Equal(Date().Replace(expected, ""), Date().Replace(answer, ""));
    }

    [Theory]
    [InlineData("")] // none at all
    [InlineData("Host: {host}\r\nHost: {host}\r\n")]
    [InlineData("Host: {host}\r\nHost: other.example\r\n")]
    [InlineData("Host: {host}, other.example\r\n")]
    [InlineData("Host: {host}/\r\n")]
    [InlineData("Host: {host} x\r\n")]
    [InlineData("Host: user@{host}\r\n")]
    [InlineData("Host: {host}:\r\n")]
    [InlineData("Host: {host}:80:80\r\n")]
    [InlineData("Host: {host}:http\r\n")]
    [InlineData("Host: [{host}]\r\n")]
    [InlineData("Host: http://{host}\r\n")]
    [InlineData("Host: {host}%2e\r\n")]
    [InlineData("Host: {host}\0\r\n")]
    [InlineData("Host: caf\u00e9.gateway.localhost\r\n")]
    public async Task A_missing_repeated_or_malformed_host_is_refused(string field)
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());

        var answer = await SendAsync(
            shared.Gateway.HttpPort, $"GET / HTTP/1.1\r\n{field.Replace("{host}", visit.Device.Host, StringComparison.Ordinal)}Connection: close\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.DoesNotContain("app at", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HTTP_1_0_without_a_host_asks_for_no_device()
    {
        Assert.StartsWith("HTTP/1.1 404 ", await SendAsync(shared.Gateway.HttpPort, "GET / HTTP/1.0\r\n\r\n"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("http://other.example/", "{host}")]
    [InlineData("http://{host}/", "other.example")]
    [InlineData("http://user@{host}/", "{host}")]
    [InlineData("http://{host}:1/", "{host}:2")]
    public async Task A_target_whose_authority_is_not_the_host_is_refused(string target, string host)
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());

        var answer = await SendAsync(
            shared.Gateway.HttpPort, $"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".Replace("{host}", visit.Device.Host, StringComparison.Ordinal));

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.DoesNotContain("app at", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_else_names_a_host_routes_nothing()
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());

        // Neither the fields that proxies set, nor the name in the TLS handshake.
        await using var visitor = await RawConnection.OpenAsync(shared.Gateway.HttpsPort, tls: true, visit.Device.Host);
        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: x.gateway.localhost\r\nX-Forwarded-Host: {visit.Device.Host}\r\nForwarded: host={visit.Device.Host}\r\nConnection: close\r\n\r\n");

        Assert.StartsWith("HTTP/1.1 404 ", await visitor.ReadToEndAsync(), StringComparison.Ordinal);
    }

    public static TheoryData<string, string, bool> Authorities => new()
    {
        { "{host}", "", true },
        { "{host}", "{host}", true },
        { "", "{host}", true },
        { "{host}", "{HOST}", true },
        { "{host}", "other.example", false },
        { "x.gateway.localhost", "{host}", false },
        { "{host}", "{host}:443", false },
        { "user@{host}", "", false },
    };

    [Theory]
    [MemberData(nameof(Authorities))]
    public async Task Over_HTTP_2_the_authority_and_the_host_field_agree_or_the_request_is_refused(string authority, string host, bool accepted)
    {
        await using var visit = await Visit.ToAsync(shared.Gateway, await AppAsync());
        await using var visitor = await RawHttp2.OpenAsync(shared.Gateway, visit.Device.Host);
        string Resolve(string text) => text
            .Replace("{host}", visit.Device.Host, StringComparison.Ordinal).Replace("{HOST}", visit.Device.Host.ToUpperInvariant(), StringComparison.Ordinal);
        (string, string)[] Head(string authority, string host) =>
        [
            (":method", "GET"), (":scheme", "https"), (":path", "/"),
            .. authority.Length > 0 ? new[] { (":authority", Resolve(authority)) } : [],
            .. host.Length > 0 ? new[] { ("host", Resolve(host)) } : [],
        ];

        // Twice, for the server keeps what it knows of a connection's requests.
        for (var stream = 1; stream <= 5; stream += 2)
        {
            await visitor.RequestAsync(stream, Head("{host}", stream == 1 ? "{host}" : ""));
            Assert.Equal(200, (await visitor.ReadAsync(Frame.Headers))!.Status);
            await visitor.ReadAsync(Frame.Data);
        }

        await visitor.RequestAsync(7, Head(authority, host));

        var answer = (await visitor.ReadAsync(Frame.Headers, Frame.ResetStream, Frame.GoAway))!;
        Assert.Equal(accepted, answer.Type == Frame.Headers && answer.Status == 200);
        if (!accepted)
        {
            Assert.True(answer.Type switch
            {
                Frame.Headers => answer.Status == 400,
                Frame.GoAway => answer.Payload[7] == 1, // PROTOCOL_ERROR
                _ => answer.Payload[3] == 1,
            });
        }
    }

    [GeneratedRegex("Date: .*\r\n", RegexOptions.NonBacktracking)]
    private static partial Regex Date();
}
