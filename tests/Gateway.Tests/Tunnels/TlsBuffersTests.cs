using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Http;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tests.Tunnels;

/// <summary>An update of the platform may move what <see cref="TlsBuffers"/> reaches for: then these tell.</summary>
public sealed partial class TlsBuffersTests
{
    [Fact]
    public async Task A_connection_gives_its_buffers_back_and_goes_on()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, ((IPEndPoint)listener.LocalEndpoint).Port);
        using var accepted = await listener.AcceptTcpClientAsync();
        await using var visitor = new SslStream(client.GetStream());
        await using var server = new SslStream(accepted.GetStream());
        using var certificate = X509Certificate2.CreateFromPemFile(TestCertificates.Shared.CertificateFile, TestCertificates.Shared.KeyFile);
        var trusting = TestGateway.TrustTestAuthority();
        trusting.TargetHost = "localhost";
        await Task.WhenAll(
            server.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificateContext = SslStreamCertificateContext.Create(certificate, null) }),
            visitor.AuthenticateAsClientAsync(trusting));

        var ssl = HandleOf(server);
        Assert.True(HeldBy(TlsBuffers.ReadingEnd(ssl)) > 0 && HeldBy(TlsBuffers.WritingEnd(ssl)) > 0, "The handshake left nothing behind: then there is nothing to give back.");

        Assert.True(TlsBuffers.ReleaseWhenIdle(server), "OpenSSL's mode could not be set.");

        Assert.Equal((0, 0), (HeldBy(TlsBuffers.ReadingEnd(ssl)), HeldBy(TlsBuffers.WritingEnd(ssl))));
        foreach (var length in new[] { 1, 100_000, 1 })
        {
            var sent = new byte[length];
            Random.Shared.NextBytes(sent);
            await CrossAsync(visitor, server, sent);
            await CrossAsync(server, visitor, sent);
        }

        Assert.True(HeldBy(TlsBuffers.ReadingEnd(ssl)) > 16 * 1024, "The platform gives back by itself what a large body was read through.");
        TlsBuffers.ReleaseRead(server);
        Assert.Equal(0, HeldBy(TlsBuffers.ReadingEnd(ssl)));
        await CrossAsync(visitor, server, new byte[100_000]);
    }

    [Fact]
    public async Task A_tunnel_gives_back_what_a_large_response_was_read_through_and_goes_on()
    {
        await using var gateway = await TestGateway.StartAsync();
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync(new string('x', context.Request.Path == "/large" ? 1_000_000 : 1)));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, app.Url);
        using var visitor = gateway.CreateVisitor();
        var ssl = HandleOf(ConnectionOf(gateway.Tunnels.Find(device.Uuid)!));

        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(1_000_000, (await visitor.GetStringAsync(new Uri($"http://{device.Host}/large"))).Length);

            // Small frames follow: of other visits, and of the pings by which a tunnel is kept.
            await Eventually.TrueAsync(
                async () => await visitor.GetStringAsync(new Uri($"http://{device.Host}/")) == "x" && HeldBy(TlsBuffers.ReadingEnd(ssl)) < 4096, "the memory is given back");
        }
    }

    private static SslStream ConnectionOf(DeviceTunnel tunnel)
    {
        var stream = typeof(TunnelClient).GetField("_stream", BindingFlags.NonPublic | BindingFlags.Instance)!.GetValue(tunnel.Client)!;
        return (SslStream)stream.GetType().GetField("_inner", BindingFlags.NonPublic | BindingFlags.Instance)!.GetValue(stream)!;
    }

    private static nint HandleOf(SslStream stream) =>
        ((SafeHandle)typeof(SslStream).GetField("_securityContext", BindingFlags.NonPublic | BindingFlags.Instance)!.GetValue(stream)!).DangerousGetHandle();

    private static async Task CrossAsync(SslStream from, SslStream to, byte[] sent)
    {
        var received = new byte[sent.Length];
        var reading = to.ReadExactlyAsync(received).AsTask();
        await from.WriteAsync(sent);
        await Eventually.EndsAsync(reading, "the bytes");
        await reading;
        Assert.Equal(sent, received);
    }

    /// <summary>Bytes of the buffer, <c>max</c> of <c>struct buf_mem_st</c> in openssl/buffer.h.</summary>
    private static nint HeldBy(nint end)
    {
        _ = ControlEnd(end, 115, 0, out var buffer);
        return Marshal.ReadIntPtr(buffer, 2 * nint.Size);
    }

    [LibraryImport("libcrypto.so.3", EntryPoint = "BIO_ctrl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ControlEnd(nint end, int command, nint value, out nint pointer);
}
