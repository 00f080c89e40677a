using System.Diagnostics.Metrics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using Gateway.Listeners.Tls;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Gateway.Tests;

/// <summary>Many devices come back at once: their handshakes wait in line, and visitors do not.</summary>
public sealed class StormTests
{
    private const string TunnelHost = $"tunnel.{TestGateway.Domain}";

    /// <summary>A TLS handshake with the gateway, and no more.</summary>
    private static async Task<bool> HandshakeAsync(TestGateway gateway, CancellationToken cancellationToken, string host = TunnelHost, bool inPieces = false)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, gateway.HttpsPort, cancellationToken);
        await using var tls = new SslStream(inPieces ? new ByteByByte(socket) : new NetworkStream(socket));
        var options = TestGateway.TrustTestAuthority();
        options.TargetHost = host;
        try
        {
            await tls.AuthenticateAsClientAsync(options, cancellationToken);
            return true;
        }
        catch (Exception exception) when (exception is IOException or AuthenticationException)
        {
            return false;
        }
    }

    [Fact]
    public async Task Handshakes_of_devices_beyond_the_budget_wait_and_none_is_dropped()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Tls:DeviceHandshakesPerSecond"] = "20" });

        var all = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => HandshakeAsync(gateway, CancellationToken.None)));

        Assert.All(all, Assert.True);
    }

    [Theory]
    [InlineData(TunnelHost)]
    [InlineData($"00000000000000000000000000000000.{TestGateway.Domain}")]
    public async Task A_hello_that_comes_in_pieces_is_waited_for(string host)
    {
        await using var gateway = await TestGateway.StartAsync();
        using var handshakes = new MetricCollector<double>(gateway.Services.GetRequiredService<IMeterFactory>(), "Gateway", "gateway.tunnel.tls_handshake.duration");

        Assert.True(await HandshakeAsync(gateway, CancellationToken.None, host, inPieces: true));

        // As a device's, where it is one. The client is done before the server knows.
        if (host == TunnelHost)
        {
            await handshakes.WaitForMeasurementsAsync(1, Eventually.Patience);
            Assert.Equal("1.3", handshakes.LastMeasurement!.Tags["tls.protocol.version"]);
        }
        else
        {
            Assert.Empty(handshakes.GetMeasurementSnapshot());
        }
    }

    [Fact]
    public async Task A_handshake_of_a_device_that_fails_is_counted()
    {
        await using var gateway = await TestGateway.StartAsync();
        using var handshakes = new MetricCollector<double>(gateway.Services.GetRequiredService<IMeterFactory>(), "Gateway", "gateway.tunnel.tls_handshake.duration");
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, gateway.HttpsPort);
        await using var tls = new SslStream(new NetworkStream(socket));

        // Its agent speaks something else.
        var options = TestGateway.TrustTestAuthority();
        (options.TargetHost, options.ApplicationProtocols) = (TunnelHost, [new SslApplicationProtocol("something-else")]);
        await Assert.ThrowsAsync<AuthenticationException>(() => tls.AuthenticateAsClientAsync(options));

        await handshakes.WaitForMeasurementsAsync(1, Eventually.Patience);
        Assert.Equal(typeof(AuthenticationException).FullName, handshakes.LastMeasurement!.Tags["error.type"]);
    }

    [Fact]
    public async Task A_visitor_does_not_wait_behind_devices()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Tls:DeviceHandshakesPerSecond"] = "1" });
        using var waiting = new MetricCollector<long>(gateway.Services.GetRequiredService<IMeterFactory>(), "Gateway", "gateway.tunnel.handshakes.waiting");
        using var stop = new CancellationTokenSource();
        var devices = Enumerable.Range(0, 60).Select(_ => HandshakeAsync(gateway, stop.Token)).ToArray();
        await waiting.WaitForMeasurementsAsync(20, Eventually.Patience);
        using var visitor = gateway.CreateVisitor(HttpVersion.Version20);

        using var answer = await visitor.GetAsync($"https://{TunnelHostOfNobody()}/");

        Assert.Equal(HttpStatusCode.NotFound, answer.StatusCode);
        Assert.Contains(devices, static device => !device.IsCompleted);
        await stop.CancelAsync();
        await ((Task)Task.WhenAll(devices)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);

        // Who gives up waits no more.
        await Eventually.TrueAsync(() => waiting.GetMeasurementSnapshot().Sum(static change => change.Value) == 0, "nobody waits");
    }

    [Fact]
    public async Task Beyond_those_that_may_wait_connections_are_closed_and_counted()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Tls:DeviceHandshakesPerSecond"] = "1", ["Tls:MaxWaitingHandshakes"] = "0" });
        using var connects = new MetricCollector<long>(gateway.Services.GetRequiredService<IMeterFactory>(), "Gateway", "gateway.tunnel.connects");

        var all = await Task.WhenAll(Enumerable.Range(0, 60).Select(_ => HandshakeAsync(gateway, CancellationToken.None)));

        Assert.Contains(true, all);
        Assert.Contains(false, all);
        Assert.Equal(all.Count(static done => !done), connects.GetMeasurementSnapshot().Count(static one => (string?)one.Tags["outcome"] == "overloaded"));
    }

    [Fact]
    public async Task The_name_is_read_from_any_hello_and_a_broken_one_harms_nobody()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var client = new TcpClient();
        var accepting = listener.AcceptTcpClientAsync();
        await client.ConnectAsync(IPAddress.Loopback, ((IPEndPoint)listener.LocalEndpoint).Port);
        using var accepted = await accepting;
        await using var tls = new SslStream(client.GetStream());
        using var stop = new CancellationTokenSource();
        var options = TestGateway.TrustTestAuthority();
        options.TargetHost = TunnelHost;
        var handshake = tls.AuthenticateAsClientAsync(options, stop.Token);
        var head = new byte[5];
        await accepted.GetStream().ReadExactlyAsync(head);
        var hello = new byte[5 + (head[3] << 8 | head[4])];
        head.CopyTo(hello, 0);
        await accepted.GetStream().ReadExactlyAsync(hello.AsMemory(5));

        Assert.Equal(TunnelHost, ClientHello.ServerNameOf(hello));
        var random = new Random(1);
        for (var length = 0; length < hello.Length; length++)
        {
            Assert.Contains(ClientHello.ServerNameOf(hello.AsSpan(0, length)), new[] { "", TunnelHost });
            var broken = hello.ToArray();
            broken[random.Next(broken.Length)] = (byte)random.Next(256);
            _ = ClientHello.ServerNameOf(broken);
        }

        await stop.CancelAsync();
        await handshake.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
    }

    /// <summary>Each byte is a segment of its own.</summary>
    private sealed class ByteByByte(Socket socket) : NetworkStream(socket)
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            for (var i = 0; i < buffer.Length; i++)
            {
                await base.WriteAsync(buffer.Slice(i, 1), cancellationToken);
            }
        }
    }

    private static string TunnelHostOfNobody() => $"{new string('0', 32)}.{TestGateway.Domain}";
}
