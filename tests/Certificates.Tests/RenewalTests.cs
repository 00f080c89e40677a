using System.Collections.Concurrent;
using System.Net;
using System.Net.WebSockets;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Certificates;

/// <summary>Certificates are replaced, and nobody notices.</summary>
public sealed class RenewalTests : IDisposable
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-renewal-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Ten_swaps_cut_no_download_no_WebSocket_and_fail_no_handshake()
    {
        const int swaps = 10;
        const int size = 100 * 1024 * 1024;
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var seen = new ConcurrentDictionary<string, byte>();
        await using var app = await TestApp.StartAsync(static _ => { }, app =>
        {
            app.UseWebSockets();
            app.Run(context => context.WebSockets.IsWebSocketRequest ? EchoAsync(context) : SendAsync(context, () => Math.Min(1, (double)(seen.Count - 1) / swaps)));
        });
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:RenewAfter", "00:00:00.500")));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the first certificate is served");
        var device = await gateway.AddDeviceAsync();
        await using var agent = await TestAgent.StartAsync(gateway, device, app.Url, tls: false);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        var root = await pebble.RootAsync();
        void Trust(SocketsHttpHandler handler) => handler.SslOptions = PebbleServer.Trust(root);

        using var over = new CancellationTokenSource();
        var handshakes = 0;
        var failures = new ConcurrentQueue<string>();
        async Task ShakeHandsAsync()
        {
            while (!over.IsCancellationRequested)
            {
                var options = PebbleServer.Trust(root);
                options.TargetHost = device.Host;
                try
                {
                    await using var stream = await Handshake.OpenAsync(gateway.HttpsPort, options);
                    seen.TryAdd(stream.RemoteCertificate!.GetCertHashString(), 0);
                    handshakes++;
                }
                catch (Exception exception) when (exception is not OutOfMemoryException)
                {
                    failures.Enqueue(exception.ToString());
                }
            }
        }

        var shaking = ShakeHandsAsync();
        using var socket = new ClientWebSocket();
        using var invoker = new HttpMessageInvoker(gateway.CreateHandler(Trust));
        await socket.ConnectAsync(new Uri($"wss://{device.Host}/"), invoker, CancellationToken.None);
        var echoes = 0;
        async Task TalkAsync()
        {
            var buffer = new byte[16];
            while (!over.IsCancellationRequested)
            {
                await socket.SendAsync(new byte[16], WebSocketMessageType.Binary, true, CancellationToken.None);
                Assert.Equal(16, (await socket.ReceiveAsync(buffer, CancellationToken.None)).Count);
                echoes++;
                await Task.Delay(20, CancellationToken.None);
            }
        }

        var talking = TalkAsync();
        using var visitor = gateway.CreateVisitor(HttpVersion.Version20, Trust);
        visitor.Timeout = TimeSpan.FromMinutes(2);
        using var response = await visitor.GetAsync(new Uri($"https://{device.Host}/"), HttpCompletionOption.ResponseHeadersRead);
        await using var body = await response.Content.ReadAsStreamAsync();
        long received = 0;
        var chunk = new byte[256 * 1024];
        for (int read; (read = await body.ReadAsync(chunk)) > 0;)
        {
            received += read;
        }

        await over.CancelAsync();
        await shaking;
        await talking;
        Assert.Equal(size, received);
        Assert.Empty(failures);
        Assert.True(seen.Count > swaps, $"{seen.Count} certificates were seen");
        Assert.Equal(WebSocketState.Open, socket.State);
        TestContext.Current.TestOutputHelper?.WriteLine($"{seen.Count - 1} swaps, {received} bytes, {echoes} echoes, {handshakes} handshakes, {failures.Count} failed");

        // As much as there were swaps: the download lasts exactly as long as they do.
        static async Task SendAsync(HttpContext context, Func<double> progress)
        {
            context.Response.ContentLength = size;
            var piece = new byte[64 * 1024];
            for (var sent = 0; sent < size; sent += piece.Length)
            {
                while (sent > size * progress())
                {
                    await Task.Delay(10, context.RequestAborted);
                }

                await context.Response.Body.WriteAsync(piece, context.RequestAborted);
            }
        }

        static async Task EchoAsync(HttpContext context)
        {
            using var socket = await context.WebSockets.AcceptWebSocketAsync();
            var buffer = new byte[16];
            while (!context.RequestAborted.IsCancellationRequested)
            {
                var message = await socket.ReceiveAsync(buffer, context.RequestAborted);
                await socket.SendAsync(buffer.AsMemory(0, message.Count), WebSocketMessageType.Binary, true, context.RequestAborted);
            }
        }
    }

    [Fact]
    public async Task When_the_replica_that_orders_is_killed_the_other_one_finishes()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();

        // The first replica is in the middle of its order, publishing a record for ever.
        var marker = Path.Combine(_folder.FullName, "in-the-middle");
        var hook = Path.Combine(_folder.FullName, "hook");
        await File.WriteAllTextAsync(hook, $"#!/bin/sh\necho $$ > {marker}\nexec sleep 60\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        var settings = pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Edge:Domains:0", TestGateway.Domain));
        string[] Arguments(Dictionary<string, string?> all) => [.. all.Where(static pair => pair.Value!.Length > 0).Select(static pair => $"{pair.Key}={pair.Value}")];
        await using var first = await GatewayProcess.StartAsync(
            null, [.. Arguments(settings), "Listen:Https=127.0.0.1:0", "Certificates:Acme:Dns:Publisher=Command", $"Certificates:Acme:Dns:Command={hook}"]);
        await Eventually.TrueAsync(() => File.Exists(marker) && new FileInfo(marker).Length > 0, "the first is in the middle");
        var port = RedisServer.FreePort();
        await using var second = await GatewayProcess.StartAsync(null, [.. Arguments(settings), $"Listen:Https=127.0.0.1:{port}", $"Certificates:Acme:Dns:Listen=127.0.0.1:{dns}"]);
        Assert.Null(await Handshake.TryAsync(port, AnyDevice));

        first.Process.Kill();
        using (var stop = System.Diagnostics.Process.Start("kill", ["-9", (await File.ReadAllTextAsync(marker)).Trim()]))
        {
            await stop.WaitForExitAsync();
        }

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(port, AnyDevice)).IsFor(AnyDevice), "the second has finished");
        await second.Process.WaitForOutputAsync("Certificate of gateway.localhost issued by");
    }

    [Fact]
    public async Task A_restart_without_the_server_serves_from_the_store()
    {
        var dns = RedisServer.FreePort();
        var data = Path.Combine(_folder.FullName, "data");
        Dictionary<string, string?> settings;
        string thumbprint;
        await using (var pebble = await PebbleServer.StartAsync(dns))
        {
            // The embedded store, whose key is a file that the gateway has made.
            settings = pebble.Settings("Dns").With(
                ("Storage:Redis", ""), ("Storage:DataDirectory", data), ("Certificates:EncryptionKey", ""), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"),
                ("Certificates:Acme:CaFile", TestCertificates.Shared.AuthorityFile));
            var ca = Path.Combine(_folder.FullName, "ca.pem");
            File.Copy(pebble.CaFile, ca);
            settings["Certificates:Acme:CaFile"] = ca;
            await using var before = await TestGateway.StartAsync(settings);
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(before.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
            thumbprint = (await Handshake.TryAsync(before.HttpsPort, AnyDevice))!.Thumbprint;
        }

        await using var after = await TestGateway.StartAsync(settings);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(after.HttpsPort, AnyDevice))?.Thumbprint == thumbprint, "the same one is served");
        Assert.True(OperatingSystem.IsWindows() || File.GetUnixFileMode(Path.Combine(data, "certificates.key")) == (UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    [Fact]
    public async Task While_Redis_is_away_the_last_certificates_are_served()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(
            pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")), LogOf.Kept);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");

        redis.Kill();
        await gateway.SaysAsync("Lost Redis");
        Assert.True((await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice));

        // And the work goes on when it is back.
        await redis.RestartAsync();
        await using var command = ChildProcess.StartOwn("gateway", ["certificate", "renew", TestGateway.Domain, "--set", $"Storage:Redis={redis.ConnectionString}"]);
        Assert.True(await command.WaitForExitAsync() == 0, command.Output);
        await Eventually.TrueAsync(() => pebble.Orders == 2, "it is ordered anew");
    }

    [Fact]
    public async Task A_revoked_certificate_is_replaced()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"));
        await using var gateway = await TestGateway.StartAsync(settings);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        var first = (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!;
        string[] store = [.. settings.Where(static pair => pair.Value is { Length: > 0 }).SelectMany(static pair => new[] { "--set", $"{pair.Key}={pair.Value}" })];

        await using var revoke = ChildProcess.StartOwn("gateway", ["certificate", "revoke", TestGateway.Domain, "--reason", "1", .. store]);
        Assert.True(await revoke.WaitForExitAsync() == 0, revoke.Output);

        Assert.Equal("Revoked", await pebble.StatusAsync(first));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != first.Thumbprint, "another one is served");
        await using var list = ChildProcess.StartOwn("gateway", ["certificate", "list", .. store]);
        Assert.Equal(0, await list.WaitForExitAsync());
        Assert.Contains($"{TestGateway.Domain}: good until ", list.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_server_says_when_and_learns_what_is_replaced()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        var asked = new ConcurrentQueue<string>();
        var now = DateTimeOffset.UtcNow;

        // Pebble has no renewal information: the rest is its own.
        await using var front = await DirectoryInFront.StartAsync(pebble, static (directory, self) => directory["renewalInfo"] = $"{self}/renewal-info", async context =>
        {
            asked.Enqueue(context.Request.Path);
            context.Response.Headers.RetryAfter = "60";
            context.Response.ContentType = "application/json";

            // The first certificate was issued wrongly, the second one is all right.
            var isFirst = asked.All(path => path == context.Request.Path);
            var start = isFirst ? now.AddDays(-2) : now.AddDays(3);
            await context.Response.WriteAsync(System.Text.Json.JsonSerializer.Serialize(new { suggestedWindow = new { start, end = start.AddDays(1) } }));
        });
        var ca = Path.Combine(_folder.FullName, "ca.pem");
        await File.WriteAllTextAsync(ca, front.Authority + "\n" + await File.ReadAllTextAsync(pebble.CaFile));
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:Directories:0:Url", front.Url), ("Certificates:Acme:CaFile", ca)),
            LogOf.Kept);

        await Eventually.TrueAsync(() => pebble.Orders == 2, "the first one is replaced");
        await Eventually.TrueAsync(() => asked.Distinct(StringComparer.Ordinal).Count() == 2, "the second one is asked for");
        var database = (await gateway.Services.GetRequiredService<Gateway.Storage.RedisConnection>().FirstConnected).GetDatabase();
        await Eventually.TrueAsync(
            async () => (await database.HashGetAsync("cert:{gateway.localhost}", "renew_at")).TryParse(out long at) && at >= now.AddDays(3).ToUnixTimeMilliseconds() && at <= now.AddDays(4).ToUnixTimeMilliseconds(),
            "it is renewed when the server says");
    }
}
