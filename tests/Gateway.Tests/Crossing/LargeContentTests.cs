using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Crossing;

/// <summary>A gigabyte through gateway and agent as processes: every byte arrives, and neither keeps what it passes on.</summary>
[Collection(nameof(Alone))]
public sealed class LargeContentTests
{
    private const int ChunkBytes = 64 * 1024;
    private const long Warm = 64L << 20;
    private const long Large = 1L << 30;

    /// <summary>The most that a process may grow while a gigabyte passes: buffers and the collector's slack, and no body.</summary>
    private const long Slack = 96L << 20;

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_gigabyte_crosses_both_ways_and_memory_stays_flat(string version)
    {
        await using var app = await TestApp.StartAsync(static async context =>
        {
            var length = long.Parse(context.Request.Query["length"]!, System.Globalization.CultureInfo.InvariantCulture);
            if (HttpMethods.IsPost(context.Request.Method))
            {
                await context.Response.WriteAsync(await HashAsync(context.Request.Body));
                return;
            }

            context.Response.ContentLength = length;
            await WriteAsync(context.Response.Body, length);
        });
        var https = RedisServer.FreePort();
        await using var gateway = await GatewayProcess.StartAsync(
            network: null,
            $"Edge:Domains:0={TestGateway.Domain}", $"Listen:Https=127.0.0.1:{https}", $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}");
        var device = await gateway.AddDeviceAsync();
        await using var agent = ChildProcess.StartOwn(
            "gateway-agent", ["--gateway", $"https://tunnel.{TestGateway.Domain}:{https}", "--uuid", $"{device.Uuid}", "--ca", TestCertificates.Shared.AuthorityFile, "--target", $"{app.Url}"],
            new() { ["GATEWAY_KEY"] = device.Key });
        await agent.WaitForOutputAsync("Tunnel up");
        var isHttp2 = version == "2.0";
        using var visitor = new HttpClient(new SocketsHttpHandler
        {
            UseProxy = false,
            SslOptions = TestGateway.TrustTestAuthority(),
            ConnectCallback = async (_, cancellationToken) =>
            {
                var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                await socket.ConnectAsync(IPAddress.Loopback, isHttp2 ? https : gateway.Port, cancellationToken);
                return new NetworkStream(socket, ownsSocket: true);
            },
        })
        {
            DefaultRequestVersion = Version.Parse(version),
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Timeout = TimeSpan.FromMinutes(5),
        };
        var url = $"{(isHttp2 ? "https" : "http")}://{device.Host}/";

        await CrossAsync(Warm);
        var before = (Gateway: GatewayProcess.PeakMemory(gateway.Process), Agent: GatewayProcess.PeakMemory(agent));
        await CrossAsync(Large);
        Assert.InRange(GatewayProcess.PeakMemory(gateway.Process) - before.Gateway, 0, Slack);
        Assert.InRange(GatewayProcess.PeakMemory(agent) - before.Agent, 0, Slack);

        async Task CrossAsync(long length)
        {
            var expected = await ExpectedAsync(length);

            using var download = await visitor.GetAsync(new Uri($"{url}?length={length}"), HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal(length, download.Content.Headers.ContentLength);
            Assert.Equal(expected, await HashAsync(await download.Content.ReadAsStreamAsync()));

            using var content = new PushContent(length);
            using var upload = await visitor.PostAsync(new Uri($"{url}?length={length}"), content);
            Assert.Equal(expected, await upload.Content.ReadAsStringAsync());
        }
    }

    // Each piece says where it stands, so that none can be missing, doubled or out of place.
    private static async Task WriteAsync(Stream stream, long length)
    {
        var chunk = new byte[ChunkBytes];
        for (long at = 0; at < length; at += chunk.Length)
        {
            BitConverter.TryWriteBytes(chunk, at);
            await stream.WriteAsync(chunk);
        }
    }

    private static async Task<string> ExpectedAsync(long length)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var stream = new HashStream(hash);
        await WriteAsync(stream, length);
        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static async Task<string> HashAsync(Stream stream) => Convert.ToHexString(await SHA256.HashDataAsync(stream));

    private sealed class PushContent(long length) : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => WriteAsync(stream, length);

        protected override bool TryComputeLength(out long computed)
        {
            computed = length;
            return true;
        }
    }

    private sealed class HashStream(IncrementalHash hash) : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            hash.AppendData(buffer.Span);
            return ValueTask.CompletedTask;
        }
    }
}
