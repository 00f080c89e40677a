using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;
using Tunnel.Protocol.DeviceSide;

namespace Gateway.Tests.Agents;

/// <summary>How a device reaches the gateway: trust, proxies, addresses, patience; and what it reaches for its visitors.</summary>
public sealed partial class DiallingTests(SharedGateway shared)
{
    private static Task<TestApp> AppAsync() => TestApp.StartAsync(static context => context.Response.WriteAsync("here"));

    /// <summary>An agent as a process, for what comes from its environment.</summary>
    private static ChildProcess StartAgent(string gateway, TestDevice device, Dictionary<string, string?> environment, params string[] more)
    {
        environment["GATEWAY_KEY"] = device.Key;
        return ChildProcess.StartOwn("gateway-agent", ["--gateway", gateway, "--uuid", $"{device.Uuid}", .. more], environment);
    }

    private string Gateway => $"https://tunnel.{TestGateway.Domain}:{shared.Gateway.HttpsPort}";

    private async Task AssertServedAsync(TestDevice device)
    {
        using var visitor = shared.Gateway.CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
    }

    [Fact]
    public async Task A_gateway_whose_certificate_comes_from_the_given_authority_is_trusted()
    {
        await using var app = await AppAsync();
        var device = await shared.Gateway.AddDeviceAsync();
        await using var agent = StartAgent(Gateway, device, [], "--ca", TestCertificates.Shared.AuthorityFile, "--target", $"{app.Url}");

        await agent.WaitForOutputAsync("Tunnel up");

        await AssertServedAsync(device);
    }

    [Fact]
    public async Task A_gateway_whose_certificate_comes_from_elsewhere_gets_no_key()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var agent = StartAgent(Gateway, device, []);

        await agent.WaitForOutputAsync("the gateway's certificate is not trusted");

        Assert.Null(shared.Gateway.Tunnels.Find(device.Uuid));
        Assert.DoesNotContain(device.Key, agent.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_gateway_whose_certificate_is_for_another_name_gets_no_key()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var agent = StartAgent($"https://127.0.0.1:{shared.Gateway.HttpsPort}", device, [], "--ca", TestCertificates.Shared.AuthorityFile);

        await agent.WaitForOutputAsync("the gateway's certificate is not trusted");
    }

    [Theory]
    [InlineData("HTTPS_PROXY", "http", true)]
    [InlineData("https_proxy", "http", true)]
    [InlineData("ALL_PROXY", "http", true)]
    [InlineData("ALL_PROXY", "socks5", true)]
    [InlineData("HTTPS_PROXY", "socks5", true)]
    [InlineData("HTTP_PROXY", "http", false)]
    [InlineData("ALL_PROXY", "socks5", false)]
    public async Task The_proxy_that_the_environment_names_is_used(string variable, string scheme, bool tls)
    {
        await using var app = await AppAsync();
        await using var proxy = new Proxy();
        var device = await shared.Gateway.AddDeviceAsync();
        var gateway = tls ? Gateway : $"http://tunnel.{TestGateway.Domain}:{shared.Gateway.HttpPort}";
        await using var agent = StartAgent(
            gateway, device, new() { [variable] = $"{scheme}://127.0.0.1:{proxy.Port}", ["GATEWAY_CONNECTIONS"] = "1" }, "--ca", TestCertificates.Shared.AuthorityFile, "--target", $"{app.Url}");

        await agent.WaitForOutputAsync("Tunnel up");

        Assert.Equal([new Uri(gateway).Authority], proxy.Targets);
        await AssertServedAsync(device);
    }

    [Fact]
    public async Task A_host_that_NO_PROXY_names_is_dialled_directly()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        await using var proxy = new Proxy();
        await using var agent = StartAgent(
            Gateway, device, new() { ["HTTPS_PROXY"] = $"http://127.0.0.1:{proxy.Port}", ["NO_PROXY"] = $".{TestGateway.Domain}" }, "--ca", TestCertificates.Shared.AuthorityFile);

        await agent.WaitForOutputAsync("Tunnel up");

        Assert.Empty(proxy.Targets);
    }

    [Fact]
    public async Task A_gateway_that_has_only_IPv6_is_found()
    {
        await using var app = await AppAsync();
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:Https"] = "[::1]:0" });
        var device = await gateway.AddDeviceAsync();

        await using var agent = await gateway.ConnectAsync(device, app.Url);

        using var visitor = gateway.CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
    }

    [Theory]
    [InlineData("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", "the gateway is busy or stopping (503)", 3600)]
    [InlineData("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "does not accept this uuid with this key (401)", 0)]
    [InlineData("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "there is no tunnel endpoint at this address (404)", 0)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answered 200 instead of 101", 0)]
    [InlineData("SSH-2.0-OpenSSH_9.2p1\r\n", "", 0)]
    public async Task Who_is_refused_says_why_and_waits_for_as_long_as_it_was_asked_to(string answer, string said, double atLeast)
    {
        await using var gateway = new RawApp();
        await using var agent = StartAgent($"{gateway.Url}", new TestDevice(Tunnel.Protocol.DeviceUuid.New(), "secret-key"), []);

        await gateway.AnswerOnceAsync(answer);

        await agent.WaitForOutputAsync("trying again in");
        Assert.Contains($"No tunnel: ", agent.Output, StringComparison.Ordinal);
        Assert.Contains(said, agent.Output, StringComparison.Ordinal);
        Assert.InRange(double.Parse(Pause().Match(agent.Output).Groups["seconds"].Value, CultureInfo.InvariantCulture), atLeast, atLeast + 1.05);
        Assert.DoesNotContain("secret-key", agent.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_application_with_TLS_is_asked_when_its_certificate_is_trusted_or_need_not_be()
    {
        var port = RedisServer.FreePort();
        await using var secure = await TestApp.StartAsync(
            static context => context.Response.WriteAsync(context.Request.Scheme),
            configure: kestrel => kestrel.Listen(IPAddress.Loopback, port, static listen =>
            {
                listen.Protocols = HttpProtocols.Http1;
                listen.UseHttps(System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPemFile(TestCertificates.Shared.CertificateFile, TestCertificates.Shared.KeyFile));
            }));
        using var visitor = shared.Gateway.CreateVisitor();

        var careful = await shared.Gateway.AddDeviceAsync();
        await using var carefulAgent = StartAgent(Gateway, careful, [], "--ca", TestCertificates.Shared.AuthorityFile, "--target", $"https://127.0.0.1:{port}");
        await carefulAgent.WaitForOutputAsync("Tunnel up");
        using var refused = await visitor.GetAsync(new Uri($"http://{careful.Host}/"));
        Assert.Equal(HttpStatusCode.BadGateway, refused.StatusCode);
        Assert.Contains("error=tls_protocol_error", refused.Headers.GetValues("Proxy-Status").Single(), StringComparison.Ordinal);

        var trusting = await shared.Gateway.AddDeviceAsync();
        await using var trustingAgent = StartAgent(Gateway, trusting, [], "--ca", TestCertificates.Shared.AuthorityFile, "--target", $"https://127.0.0.1:{port}", "--target-insecure");
        await trustingAgent.WaitForOutputAsync("Tunnel up");
        Assert.Equal("https", await visitor.GetStringAsync(new Uri($"http://{trusting.Host}/")));
    }

    [Fact]
    public async Task An_ASP_NET_Core_application_needs_no_agent()
    {
        var device = await shared.Gateway.AddDeviceAsync();
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(static kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        builder.WebHost.UseDeviceTunnel(tunnel =>
        {
            tunnel.Gateway = new Uri(Gateway);
            tunnel.Uuid = device.Uuid;
            tunnel.Key = device.Key;
            tunnel.TrustedRoots = [TestCertificates.Shared.Authority];
        });
        await using var app = builder.Build();
        app.Run(static context => context.Response.WriteAsync($"{context.Request.Protocol} {context.Request.Host} {context.Request.Headers["X-Forwarded-Proto"]}"));
        await app.StartAsync();
        await Eventually.TrueAsync(() => shared.Gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        using var visitor = shared.Gateway.CreateVisitor();

        Assert.Equal($"HTTP/2 {device.Host} http", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));

        // And it still listens where it did before.
        var local = app.Urls.Select(static url => new Uri(url)).Single(static url => url.Host == "127.0.0.1");
        using var neighbour = new HttpClient();
        Assert.StartsWith("HTTP/1.1 127.0.0.1", await neighbour.GetStringAsync(local), StringComparison.Ordinal);
    }

    [Fact]
    public void An_application_without_its_settings_does_not_start_and_says_which()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseDeviceTunnel(static tunnel => tunnel.Gateway = new Uri("https://tunnel.a"));

        var error = Assert.Throws<OptionsValidationException>(builder.Build);

        Assert.Contains("uuid is missing", error.Message, StringComparison.Ordinal);
    }

    [GeneratedRegex(@"trying again in (?<seconds>[0-9.]+) s", RegexOptions.NonBacktracking)]
    private static partial Regex Pause();

    /// <summary>A proxy that speaks CONNECT (RFC 9110 section 9.3.6) and SOCKS 5 (RFC 1928), whichever it is asked in.</summary>
    private sealed class Proxy : IAsyncDisposable
    {
        private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
        private readonly List<string> _targets = [];
        private readonly Task _serving;

        public Proxy()
        {
            _listener.Start();
            _serving = ServeAsync();
        }

        public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

        public IReadOnlyList<string> Targets
        {
            get
            {
                lock (_targets)
                {
                    return [.. _targets];
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            _listener.Stop();
            await _serving;
        }

        private async Task ServeAsync()
        {
            var exchanges = new List<Task>();
            try
            {
                while (true)
                {
                    exchanges.Add(ForwardAsync(await _listener.AcceptSocketAsync()));
                }
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The test is over.
            }
        }

        private async Task ForwardAsync(Socket socket)
        {
            await using var client = new RawConnection(new NetworkStream(socket, ownsSocket: true));
            var first = await client.ReadAsync(1);
            string target;
            if (first == "\u0005")
            {
                await client.ReadAsync((await client.ReadAsync(1))[0]);
                await client.SendAsync("\u0005\0");
                Assert.Equal("\u0005\u0001\0\u0003", await client.ReadAsync(4)); // connect to a name: the proxy resolves it
                var name = await client.ReadAsync((await client.ReadAsync(1))[0]);
                var port = await client.ReadAsync(2);
                target = $"{name}:{(port[0] << 8) | port[1]}";
                await client.SendAsync("\u0005\0\0\u0001\0\0\0\0\0\0");
            }
            else
            {
                var head = first + await client.ReadHeadAsync();
                Assert.StartsWith("CONNECT ", head, StringComparison.Ordinal);
                target = head.Split(' ')[1];
                await client.SendAsync("HTTP/1.1 200 OK\r\n\r\n");
            }

            lock (_targets)
            {
                _targets.Add(target);
            }

            using var upstream = new TcpClient();
            await upstream.ConnectAsync(IPAddress.Loopback, int.Parse(target.Split(':')[1], CultureInfo.InvariantCulture));
            try
            {
                await Task.WhenAny(client.Stream.CopyToAsync(upstream.GetStream()), upstream.GetStream().CopyToAsync(client.Stream));
            }
            catch (IOException)
            {
                // One of the two ended.
            }
        }
    }
}
