using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Certificates;

/// <summary>What TLS is like for visitors, and who they are behind a balancer.</summary>
public sealed class EdgeTests
{
    private static SslClientAuthenticationOptions Client(SslProtocols protocols, params SslApplicationProtocol[] alpn)
    {
        var options = TestGateway.TrustTestAuthority();
        options.TargetHost = $"x.{TestGateway.Domain}";
        options.EnabledSslProtocols = protocols;
        options.ApplicationProtocols = [.. alpn];
        return options;
    }

    [Fact]
    public async Task Both_versions_are_spoken_unless_the_newer_one_is_asked_for()
    {
        await using var gateway = await TestGateway.StartAsync();
        await using (var stream = await Handshake.OpenAsync(gateway.HttpsPort, Client(SslProtocols.Tls12, SslApplicationProtocol.Http2, SslApplicationProtocol.Http11)))
        {
            Assert.Equal((SslProtocols.Tls12, SslApplicationProtocol.Http2), (stream.SslProtocol, stream.NegotiatedApplicationProtocol));
        }

        await using (var stream = await Handshake.OpenAsync(gateway.HttpsPort, Client(SslProtocols.Tls13, SslApplicationProtocol.Http11)))
        {
            Assert.Equal((SslProtocols.Tls13, SslApplicationProtocol.Http11), (stream.SslProtocol, stream.NegotiatedApplicationProtocol));
        }

        await using var strict = await TestGateway.StartAsync(new() { ["Tls:MinimumVersion"] = "Tls13" });
        await Assert.ThrowsAnyAsync<Exception>(() => Handshake.OpenAsync(strict.HttpsPort, Client(SslProtocols.Tls12)));
    }

    [Theory]
    [InlineData("-tls1_2")]
    [InlineData("-tls1_3")]
    public async Task Sessions_are_resumed(string version)
    {
        await using var gateway = await TestGateway.StartAsync();
        var session = Path.GetTempFileName();
        string[] common = ["s_client", "-connect", $"127.0.0.1:{gateway.HttpsPort}", "-servername", $"x.{TestGateway.Domain}", version, "-CAfile", TestCertificates.Shared.AuthorityFile];

        // TLS 1.3 gives the ticket after the handshake: a request is waited for.
        var request = Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: x.{TestGateway.Domain}\r\nConnection: close\r\n\r\n");
        Assert.Contains("New, TLSv1", await OpenSslAsync([.. common, "-sess_out", session], request), StringComparison.Ordinal);
        Assert.Contains("Reused, TLSv1", await OpenSslAsync([.. common, "-sess_in", session], request), StringComparison.Ordinal);
        File.Delete(session);
    }

    [Theory]
    [InlineData("", null, "https://{0}/a%2Fb?c=d")]
    [InlineData("", "80", "https://{0}/a%2Fb?c=d")]
    [InlineData("", "8080", "https://{0}:{1}/a%2Fb?c=d")]
    [InlineData("https://*.gateway.localhost", "8080", "https://{0}/a%2Fb?c=d")]
    [InlineData("https://*.gateway.localhost:9443", "8080", "https://{0}:9443/a%2Fb?c=d")]
    public async Task A_visitor_without_TLS_is_sent_to_where_there_is_some(string origin, string? port, string location)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:RedirectToHttps"] = "true", ["Listen:Https"] = $"127.0.0.1:{RedisServer.FreePort()}", ["Listen:PublicOrigin"] = origin });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        await using var visitor = await RawConnection.OpenAsync(gateway.HttpPort);
        await visitor.SendAsync($"GET /a%2Fb?c=d HTTP/1.1\r\nHost: {visit.Device.Host}{(port is null ? "" : $":{port}")}\r\n\r\n");

        var head = await visitor.ReadHeadAsync();

        Assert.StartsWith("HTTP/1.1 308 ", head, StringComparison.Ordinal);
        Assert.Contains($"\r\nLocation: {string.Format(null, location, visit.Device.Host, gateway.HttpsPort)}\r\n", head, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Checks_of_ACME_servers_and_tunnels_are_not_redirected_nor_who_came_with_TLS()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:RedirectToHttps"] = "true", ["Edge:HstsMaxAge"] = "365.00:00:00", ["Edge:TrustedProxies:0"] = "127.0.0.1/32" });
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync(context.Request.Path));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, app.Url, tls: false);
        using var visitor = gateway.CreateVisitor();

        // The device's own ACME client is checked without TLS.
        Assert.Equal("/.well-known/acme-challenge/x", await visitor.GetStringAsync(new Uri($"http://{device.Host}/.well-known/acme-challenge/x")));
        using var secure = await visitor.GetAsync(new Uri($"https://{device.Host}/"));
        Assert.Equal("max-age=31536000", secure.Headers.GetValues("Strict-Transport-Security").Single());
        using var behind = new HttpRequestMessage(HttpMethod.Get, $"http://{device.Host}/proxied") { Headers = { { "X-Forwarded-Proto", "https" } } };
        using var proxied = await visitor.SendAsync(behind);
        Assert.Equal("/proxied", await proxied.Content.ReadAsStringAsync());
        using var plain = await visitor.GetAsync(new Uri($"http://{device.Host}/"));
        Assert.Equal(HttpStatusCode.PermanentRedirect, plain.StatusCode);
        Assert.False(plain.Headers.Contains("Strict-Transport-Security"));
    }

    public static TheoryData<string, byte[]> ProxyHeads => new()
    {
        { "203.0.113.9", "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n"u8.ToArray() },
        { "2001:db8::9", "PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n"u8.ToArray() },
        { "127.0.0.1", "PROXY UNKNOWN\r\n"u8.ToArray() },
        { "203.0.113.9", [.. "\r\n\r\n\0\r\nQUIT\n"u8, 0x21, 0x11, 0, 15, 203, 0, 113, 9, 198, 51, 100, 1, 220, 4, 1, 187, 4, 0, 0] },
        { "2001:db8::9", [.. "\r\n\r\n\0\r\nQUIT\n"u8, 0x21, 0x21, 0, 36, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 220, 4, 1, 187] },
        { "127.0.0.1", [.. "\r\n\r\n\0\r\nQUIT\n"u8, 0x20, 0, 0, 0] },
    };

    [Theory]
    [MemberData(nameof(ProxyHeads))]
    public async Task A_configured_balancer_says_who_the_visitor_is(string visitor, byte[] head)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:ProxyProtocol:0"] = "127.0.0.1/32" });
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync(context.Request.Headers["X-Forwarded-For"].ToString()));
        var device = await gateway.AddDeviceAsync();

        // The agent comes through the balancer as well: a relay that puts the head before its bytes.
        await using var relay = new ProxyRelay(gateway.HttpPort, head);
        await using var agent = ChildProcess.StartOwn(
            "gateway-agent", ["--gateway", $"http://tunnel.{TestGateway.Domain}:{relay.Port}", "--uuid", $"{device.Uuid}", "--target", app.Url.ToString()], new() { ["GATEWAY_KEY"] = device.Key });
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");

        await using (var plain = await RawConnection.OpenAsync(gateway.HttpPort))
        {
            // Byte by byte at its beginning, as a network may deliver it.
            foreach (var octet in head)
            {
                await plain.Stream.WriteAsync((byte[])[octet]);
            }

            await plain.SendAsync($"GET / HTTP/1.1\r\nHost: {device.Host}\r\nConnection: close\r\n\r\n");
            Assert.EndsWith($"\r\n\r\n{visitor}", Dechunk(await plain.ReadToEndAsync()), StringComparison.Ordinal);
        }

        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, gateway.HttpsPort);
        var network = new NetworkStream(socket, ownsSocket: true);
        await network.WriteAsync(head);
        var tls = new SslStream(network);
        var client = TestGateway.TrustTestAuthority();
        client.TargetHost = device.Host;
        await tls.AuthenticateAsClientAsync(client);
        await using var secure = new RawConnection(tls);
        await secure.SendAsync($"GET / HTTP/1.1\r\nHost: {device.Host}\r\nConnection: close\r\n\r\n");
        Assert.EndsWith($"\r\n\r\n{visitor}", Dechunk(await secure.ReadToEndAsync()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nobody_else_is_believed_and_a_balancer_must_say_it()
    {
        await using var open = await TestGateway.StartAsync();
        await using (var stranger = await RawConnection.OpenAsync(open.HttpPort))
        {
            await stranger.SendAsync($"PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\nHost: x.{TestGateway.Domain}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 400 ", await stranger.ReadToEndAsync(), StringComparison.Ordinal);
        }

        await using var behind = await TestGateway.StartAsync(new() { ["Listen:ProxyProtocol:0"] = "127.0.0.1/32" });
        await using var silent = await RawConnection.OpenAsync(behind.HttpPort);
        await silent.SendAsync($"GET / HTTP/1.1\r\nHost: x.{TestGateway.Domain}\r\n\r\n");
        Assert.Equal("", await silent.ReadToEndAsync());

        // Its administration is reached without one.
        using var health = new HttpClient();
        Assert.Equal(HttpStatusCode.OK, (await health.GetAsync(new Uri($"http://127.0.0.1:{behind.AdminPort}/healthz"))).StatusCode);
    }

    private static string Dechunk(string answer)
    {
        var body = answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4;
        if (!answer.Contains("Transfer-Encoding: chunked", StringComparison.OrdinalIgnoreCase))
        {
            return answer;
        }

        var start = answer.IndexOf("\r\n", body, StringComparison.Ordinal) + 2;
        return answer[..body] + answer[start..answer.IndexOf("\r\n", start, StringComparison.Ordinal)];
    }

    private static async Task<string> OpenSslAsync(string[] arguments, byte[] input)
    {
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("openssl", arguments)
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        })!;
        var error = process.StandardError.ReadToEndAsync();
        await process.StandardInput.BaseStream.WriteAsync(input);
        await process.StandardInput.BaseStream.FlushAsync();
        using var patience = new CancellationTokenSource(Eventually.Patience);
        var output = await process.StandardOutput.ReadToEndAsync(patience.Token);
        await process.WaitForExitAsync(patience.Token);
        return output + await error;
    }

    /// <summary>A balancer: passes connections on, with a head before them.</summary>
    private sealed class ProxyRelay : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly Task _serving;

        public ProxyRelay(int target, byte[] head)
        {
            _listener.Start();
            _serving = ServeAsync(target, head);
        }

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public async ValueTask DisposeAsync()
        {
            _listener.Dispose();
            await _serving;
        }

        private async Task ServeAsync(int target, byte[] head)
        {
            try
            {
                while (true)
                {
                    var client = await _listener.AcceptTcpClientAsync();
                    var server = new TcpClient();
                    await server.ConnectAsync(IPAddress.Loopback, target);
                    await server.GetStream().WriteAsync(head);
                    _ = client.GetStream().CopyToAsync(server.GetStream()).ContinueWith(_ => server.Dispose(), TaskScheduler.Default);
                    _ = server.GetStream().CopyToAsync(client.GetStream()).ContinueWith(_ => client.Dispose(), TaskScheduler.Default);
                }
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The test is over.
            }
        }
    }
}
