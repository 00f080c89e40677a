using System.Net;
using System.Text.RegularExpressions;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;
using Microsoft.Extensions.Time.Testing;
using Tunnel.Protocol;

namespace Gateway.Tests.BadInput;

/// <summary>Devices that knock wrongly, and devices that misbehave once they are in.</summary>
public sealed partial class TunnelTests(SharedGateway shared)
{
    /// <summary>The head of the HEADERS frame of the first GET: who answers stream 1 before it exists breaks a rule (RFC 9113 section 5.1).</summary>
    private const string FirstRequest = "\u0001\u0005\0\0\0\u0001";

    private static string Handshake(string uuid, string? key, string fields = "Connection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\n") =>
        $"GET /v1/devices/{uuid}/tunnel HTTP/1.1\r\nHost: tunnel.{TestGateway.Domain}\r\n{fields}{(key is null ? "" : $"Authorization: {key}\r\n")}\r\n";

    private static async Task<string> KnockAsync(TestGateway gateway, string handshake)
    {
        await using var device = await RawConnection.OpenAsync(gateway.HttpPort);
        await device.SendAsync(handshake);
        return await device.ReadToEndAsync();
    }

    /// <summary>A tunnel whose device end the test writes by hand.</summary>
    private static async Task<RawConnection> OpenTunnelAsync(TestGateway gateway, TestDevice device)
    {
        var connection = await RawConnection.OpenAsync(gateway.HttpPort);
        await connection.SendAsync(Handshake($"{device.Uuid}", $"Bearer {device.Key}"));
        Assert.StartsWith("HTTP/1.1 101 ", await connection.ReadHeadAsync(), StringComparison.Ordinal);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        return connection;
    }

    [Fact]
    public async Task Who_has_no_right_key_gets_one_answer_whatever_is_wrong()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Tunnels:MaxFailureDelay"] = "00:00:00" });
        var (device, other) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());

        var answers = new List<string>();
        foreach (var (uuid, key) in new (string, string?)[]
        {
            ($"{device.Uuid}", null),
            ($"{device.Uuid}", ""),
            ($"{device.Uuid}", "Bearer"),
            ($"{device.Uuid}", "Bearer "),
            ($"{device.Uuid}", "Bearer wrong"),
            ($"{device.Uuid}", $"Basic {device.Key}"),
            ($"{device.Uuid}", device.Key),
            ($"{device.Uuid}", $"Bearer {other.Key}"),
            ($"{device.Uuid}", $"Bearer {device.Key}x"),
            ($"{device.Uuid}", $"Bearer {new string('k', 30_000)}"),
            ($"{DeviceUuid.New()}", $"Bearer {device.Key}"),
            ("no-uuid", $"Bearer {device.Key}"),
            ($"{device.Uuid}0", $"Bearer {device.Key}"),
        })
        {
            answers.Add(Date().Replace(await KnockAsync(gateway, Handshake(uuid, key)), ""));
        }

        Assert.All(answers, static answer => Assert.StartsWith("HTTP/1.1 401 ", answer, StringComparison.Ordinal));
        Assert.Single(answers.Distinct(StringComparer.Ordinal));
        Assert.Contains("WWW-Authenticate: Bearer\r\n", answers[0], StringComparison.Ordinal);
        Assert.Contains("Connection: close\r\n", answers[0], StringComparison.Ordinal);
        Assert.Null(gateway.Tunnels.Find(device.Uuid));
    }

    [Fact]
    public async Task Repeated_wrong_keys_are_answered_later_and_later_and_others_are_not_held_up()
    {
        // The clock stands still: a delayed answer comes only when the test moves it.
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = await TestGateway.StartAsync(configure: builder => builder.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(time)));
        var device = await gateway.AddDeviceAsync();

        Assert.StartsWith("HTTP/1.1 401 ", await KnockAsync(gateway, Handshake($"{device.Uuid}", "Bearer wrong")), StringComparison.Ordinal);
        var second = KnockAsync(gateway, Handshake($"{device.Uuid}", "Bearer wrong"));
        await using (await OpenTunnelAsync(gateway, device))
        {
            Assert.False(second.IsCompleted);
        }

        await Eventually.TrueAsync(
            () =>
            {
                time.Advance(TimeSpan.FromMilliseconds(10));
                return second.IsCompleted;
            },
            "the second answer");
        Assert.StartsWith("HTTP/1.1 401 ", await second, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Connection: Upgrade\r\nUpgrade: ptth\r\n", "ALPN: h2")]
    [InlineData("Connection: Upgrade\r\nUpgrade: ptth\r\nALPN: http%2F1.1\r\n", "ALPN: h2")]
    [InlineData("Connection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2, http%2F1.1\r\n", "ALPN: h2")]
    [InlineData("Connection: Upgrade\r\nUpgrade: websocket\r\nALPN: h2\r\n", "Upgrade: ptth")]
    [InlineData("Upgrade: ptth\r\nALPN: h2\r\n", "Connection: upgrade")]
    [InlineData("ALPN: h2\r\n", "Upgrade: ptth")]
    public async Task A_handshake_that_lacks_a_field_gets_400_that_names_it(string fields, string named)
    {
        var device = await shared.Gateway.AddDeviceAsync();

        var answer = await KnockAsync(shared.Gateway, Handshake($"{device.Uuid}", $"Bearer {device.Key}", fields));

        Assert.StartsWith("HTTP/1.1 400 ", answer, StringComparison.Ordinal);
        Assert.Contains("application/problem+json", answer, StringComparison.Ordinal);
        Assert.Contains(named, answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("POST /v1/devices/{uuid}/tunnel HTTP/1.1", "HTTP/1.1 400 ")]
    [InlineData("GET /v1/devices/{uuid}/tunnel HTTP/1.0", "HTTP/1.1 400 ")]
    [InlineData("GET /v1/devices/{uuid} HTTP/1.1", "HTTP/1.1 404 ")]
    [InlineData("GET /v1/devices//tunnel HTTP/1.1", "HTTP/1.1 404 ")]
    [InlineData("GET / HTTP/1.1", "HTTP/1.1 404 ")]
    public async Task Another_method_version_or_path_is_no_handshake(string line, string status)
    {
        var device = await shared.Gateway.AddDeviceAsync();
        var handshake = Handshake($"{device.Uuid}", $"Bearer {device.Key}", "Connection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nContent-Length: 0\r\n");

        var answer = await KnockAsync(
            shared.Gateway, line.Replace("{uuid}", $"{device.Uuid}", StringComparison.Ordinal) + handshake[handshake.IndexOf("\r\n", StringComparison.Ordinal)..]);

        Assert.StartsWith(status, answer, StringComparison.Ordinal);
        Assert.Null(shared.Gateway.Tunnels.Find(device.Uuid));
    }

    [Fact]
    public async Task Over_HTTP_2_there_is_no_handshake()
    {
        using var device = shared.Gateway.CreateVisitor(HttpVersion.Version20);

        using var answer = await device.GetAsync(new Uri($"https://tunnel.{TestGateway.Domain}/v1/devices/{DeviceUuid.New()}/tunnel"));

        Assert.Equal(HttpStatusCode.BadRequest, answer.StatusCode);
        Assert.Contains("HTTP/1.1", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("SSH-2.0-OpenSSH_9.2p1\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\n\r\n")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")]
    [InlineData("\0\0\0\u0006\0\0\0\0\0")] // a PING first
    [InlineData("\0\0\0\u0004\u0001\0\0\0\0")] // an acknowledgement of nothing
    [InlineData("\0\0\0\u0004\0\0\0\0\u0001")] // SETTINGS on a stream
    public async Task Garbage_where_HTTP_2_should_start_ends_the_tunnel(string garbage)
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var tunnel = await OpenTunnelAsync(shared.Gateway, device);

        await tunnel.SendAsync(garbage);

        Assert.Equal("", await tunnel.ReadToEndAsync());
        await Eventually.TrueAsync(() => shared.Gateway.Tunnels.Find(device.Uuid) is null, "the tunnel is gone");
    }

    [Fact]
    public async Task A_device_that_talks_without_end_before_the_first_visitor_loses_its_tunnel()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var tunnel = await OpenTunnelAsync(shared.Gateway, device);

        await tunnel.SendAsync(string.Concat(Enumerable.Repeat("\0\0\0\u0004\0\0\0\0\0", 1000)));

        await tunnel.ReadToEndAsync();
        await Eventually.TrueAsync(() => shared.Gateway.Tunnels.Find(device.Uuid) is null, "the tunnel is gone");
    }

    [Theory]
    [InlineData("\0\0\0\u0004\0\0\0\0\0" + "SSH-2.0-OpenSSH_9.2p1\r\n")] // garbage after good settings
    [InlineData("\0\0\0\u0004\0\0\0\0\0" + "\0\0\u0001\u0001\u0004\0\0\0\u0001\u00ff")] // an index that no header table has
    [InlineData("\0\0\0\u0004\0\0\0\0\0" + "\0\0\u0004\u0008\0\0\0\0\u0001\0\0\0\0")] // a window of nothing
    [InlineData("\0\0\0\u0004\0\0\0\0\0" + "\0\0\u0004\0\0\0\0\0\u0007abcd")] // content of a stream that nobody opened
    [InlineData("\0\0\0\u0004\0\0\0\0\0" + "\u00ff\u00ff\u00ff\0\0\0\0\0\u0001")] // a frame beyond the limit
    public async Task A_bad_frame_ends_this_tunnel_and_nothing_else(string answer)
    {
        await using var bystander = await Visit.ToAsync(shared.Gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("unharmed")));
        var device = await shared.Gateway.AddDeviceAsync();
        await using var tunnel = await OpenTunnelAsync(shared.Gateway, device);
        using var visitor = shared.Gateway.CreateVisitor();

        var visit = visitor.GetAsync(new Uri($"http://{device.Host}/"));
        await tunnel.ReadUntilAsync(FirstRequest);
        await tunnel.SendAsync(answer);

        using var response = await visit;
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Contains("tunnel-lost", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await tunnel.ReadToEndAsync();
        await Eventually.TrueAsync(() => shared.Gateway.Tunnels.Find(device.Uuid) is null, "the tunnel is gone");
        Assert.Equal("unharmed", await visitor.GetStringAsync(bystander.Url(HttpVersion.Version11)));
    }

    [Fact]
    public async Task A_device_that_answers_with_endless_fields_gets_no_further()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var tunnel = await OpenTunnelAsync(shared.Gateway, device);
        using var visitor = shared.Gateway.CreateVisitor();

        var visit = visitor.GetAsync(new Uri($"http://{device.Host}/"));
        await tunnel.ReadUntilAsync(FirstRequest);
        await tunnel.SendAsync("\0\0\0\u0004\0\0\0\0\0" + "\0\0\u0001\u0001\0\0\0\0\u0001\u0088"); // :status 200, to be continued
        var field = "\0\u0008x-filler" + (char)127 + (char)(0x80 | (8000 - 127 & 0x7f)) + (char)(8000 - 127 >> 7) + new string('a', 8000);
        var continuation = $"\0{(char)(field.Length >> 8)}{(char)(field.Length & 0xff)}\u0009\0\0\0\0\u0001{field}";
        var sending = Task.Run(async () =>
        {
            for (var i = 0; i < 100_000 && !visit.IsCompleted; i++)
            {
                await tunnel.SendAsync(continuation);
            }
        });

        using var response = await visit;
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Contains("application-failed", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await Eventually.EndsAsync(sending, "the device is stopped");
    }

    [Fact]
    public async Task What_a_device_sends_before_the_first_visitor_is_not_lost()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var tunnel = await OpenTunnelAsync(shared.Gateway, device);
        using var visitor = shared.Gateway.CreateVisitor();

        // SETTINGS in two parts; the visitor comes between them.
        await tunnel.SendAsync("\0\0\u0006\u0004\0\0");
        var visit = visitor.GetAsync(new Uri($"http://{device.Host}/"));
        await tunnel.SendAsync("\0\0\0\0\u0003\0\0\0\u0064");
        await tunnel.ReadUntilAsync(FirstRequest);
        await tunnel.SendAsync("\0\0\u0001\u0001\u0005\0\0\0\u0001\u0089"); // :status 204, the end

        using var response = await visit;
        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
    }

    [Fact]
    public async Task A_key_appears_in_no_log()
    {
        await using var gateway = await TestGateway.StartAsync(configure: static builder =>
            builder.Logging.AddFakeLogging(static options => options.FilteredLevels.Clear()).AddFilter<FakeLoggerProvider>(null, LogLevel.Trace));
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, app.Url);
        using var visitor = gateway.CreateVisitor();
        visitor.DefaultRequestHeaders.Add("Authorization", "Bearer visitors-secret");
        visitor.DefaultRequestHeaders.Add("Cookie", "session=cookie-secret");

        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
        await KnockAsync(gateway, Handshake($"{device.Uuid}", "Bearer guessed-secret"));

        var text = string.Join('\n', gateway.Services.GetFakeLogCollector().GetSnapshot().Select(static record => $"{record.Message} {record.Exception}"));
        Assert.Contains("Tunnel of", text, StringComparison.Ordinal);
        Assert.DoesNotContain(device.Key, text, StringComparison.Ordinal);
        Assert.DoesNotContain("visitors-secret", text, StringComparison.Ordinal);
        Assert.DoesNotContain("cookie-secret", text, StringComparison.Ordinal);
        Assert.DoesNotContain("guessed-secret", text, StringComparison.Ordinal);
    }

    [GeneratedRegex("Date: .*\r\n", RegexOptions.NonBacktracking)]
    private static partial Regex Date();
}
