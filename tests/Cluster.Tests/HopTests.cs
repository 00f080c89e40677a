using System.Diagnostics.Metrics;
using System.Net;
using System.Net.WebSockets;
using System.Text;
using Gateway.Cluster;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Gateway.Tests;

/// <summary>A visitor may land on any node; the device's tunnel is one hop away at most.</summary>
public sealed class HopTests
{
    private static async Task<TestDevice> ConnectAsync(TestCluster cluster, int node, Uri target, List<IAsyncDisposable> owned)
    {
        var device = await cluster[node].AddDeviceAsync();
        owned.Add(await cluster[node].ConnectAsync(device, target));
        foreach (var other in cluster.Nodes)
        {
            await TestCluster.KnowsRoutesAsync(other, device.Uuid, 1);
        }

        return device;
    }

    private static async Task DisposeAsync(List<IAsyncDisposable> owned)
    {
        foreach (var one in owned)
        {
            await one.DisposeAsync();
        }
    }

    [Fact]
    public async Task Visits_of_many_devices_through_another_node_share_a_connection_and_each_device_sees_its_own_host()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync($"{context.Request.Host} {context.Request.Headers.ContainsKey(HopProtocol.HostHeader)}"));
        await using var cluster = await TestCluster.StartAsync(2);
        var inner = cluster[1].Services.GetRequiredService<Nodes>().Live.Single(static node => node.Id == "node-0").Address!;
        using var connections = new MetricCollector<long>(cluster[0].Services.GetRequiredService<IMeterFactory>(), "Microsoft.AspNetCore.Server.Kestrel", "kestrel.active_connections");
        List<IAsyncDisposable> owned = [];
        using var visitor = cluster[1].CreateVisitor();
        for (var i = 0; i < 5; i++)
        {
            var device = await ConnectAsync(cluster, 0, app.Url, owned);
            using var request = new HttpRequestMessage(HttpMethod.Get, $"http://{device.Host}/");
            request.Headers.TryAddWithoutValidation(HopProtocol.HostHeader, "a visitor's own");
            using var response = await visitor.SendAsync(request);
            Assert.Equal($"{device.Host} False", await response.Content.ReadAsStringAsync());
        }

        Assert.Single(
            connections.GetMeasurementSnapshot(), made => made.Value > 0 && inner.EndsWith($":{made.Tags["server.port"]}", StringComparison.Ordinal));
        await DisposeAsync(owned);
    }

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task A_request_to_a_node_without_the_tunnel_takes_one_hop_unharmed(string version)
    {
        await using var app = await TestApp.StartAsync(async context =>
        {
            context.Response.Headers["X-Target"] = context.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget;
            context.Response.Headers["X-For"] = context.Request.Headers["X-Forwarded-For"].ToString();
            context.Response.Headers["X-Proto"] = context.Request.Headers["X-Forwarded-Proto"].ToString();
            context.Response.Headers["X-Host"] = context.Request.Host.Value;
            context.Response.Headers["X-Hop"] = $"{context.Request.Headers.ContainsKey("Gateway-Hop")}";
            context.Response.Headers["X-Trace"] = context.Request.Headers.TraceParent.ToString();
            context.Response.StatusCode = 201;
            await context.Request.Body.CopyToAsync(context.Response.Body);
        });
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, app.Url, owned);
        using var visitor = cluster[1].CreateVisitor(Version.Parse(version));

        var scheme = version == "2.0" ? "https" : "http";
        using var request = new HttpRequestMessage(
            HttpMethod.Post, new Uri($"{scheme}://{device.Host}/a%2Fb/..;x=%ff//?q=", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true }))
        {
            Version = Version.Parse(version),
            Content = new ByteArrayContent([1, 2, 3]),
        };
        request.Headers.TryAddWithoutValidation("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        request.Headers.TryAddWithoutValidation("Gateway-Hop", "a visitor's own");
        using var response = await visitor.SendAsync(request);

        Assert.Equal(HttpStatusCode.Created, response.StatusCode);
        Assert.Equal([1, 2, 3], await response.Content.ReadAsByteArrayAsync());
        string Field(string name) => response.Headers.GetValues(name).Single();
        Assert.Equal("/a%2Fb/..;x=%ff//?q=", Field("X-Target"));
        Assert.Equal("127.0.0.1", Field("X-For"));
        Assert.Equal(scheme, Field("X-Proto"));
        Assert.Equal(device.Host, Field("X-Host"));
        Assert.Equal("False", Field("X-Hop"));
        Assert.StartsWith("00-0af7651916cd43dd8448eb211c80319c-", Field("X-Trace"), StringComparison.Ordinal);
        await DisposeAsync(owned);
    }

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task Trailers_cross_a_hop(string version)
    {
        await using var app = new RawApp();
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, app.Url, owned);
        using var visitor = cluster[1].CreateVisitor();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{(version == "2.0" ? "https" : "http")}://{device.Host}/") { Version = Version.Parse(version) };
        request.Headers.TryAddWithoutValidation("TE", "trailers");

        var sending = visitor.SendAsync(request);
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n");
        using var response = await sending;

        Assert.Equal("abc", await response.Content.ReadAsStringAsync());
        Assert.Equal("42", response.TrailingHeaders.GetValues("X-Sum").Single());
        await DisposeAsync(owned);
    }

    [Theory]
    [MemberData(nameof(HttpVersions.All), MemberType = typeof(HttpVersions))]
    public async Task A_WebSocket_and_an_event_stream_cross_a_hop(string version)
    {
        var mayGoOn = new TaskCompletionSource();
        await using var app = await TestApp.StartAsync(
            static _ => { },
            app =>
            {
                app.UseWebSockets();
                app.Run(async context =>
                {
                    if (context.WebSockets.IsWebSocketRequest)
                    {
                        using var socket = await context.WebSockets.AcceptWebSocketAsync();
                        var buffer = new byte[100];
                        var got = await socket.ReceiveAsync(buffer, CancellationToken.None);
                        await socket.SendAsync(buffer.AsMemory(0, got.Count), WebSocketMessageType.Text, true, CancellationToken.None);
                        await socket.CloseAsync((WebSocketCloseStatus)4001, "enough", CancellationToken.None);
                        return;
                    }

                    await context.Response.WriteAsync("first");
                    await context.Response.Body.FlushAsync();
                    await mayGoOn.Task;
                    await context.Response.WriteAsync("second");
                });
            });
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, app.Url, owned);
        var http = Version.Parse(version);

        using var invoker = new HttpMessageInvoker(cluster[1].CreateHandler());
        using var socket = new ClientWebSocket { Options = { HttpVersion = http, HttpVersionPolicy = HttpVersionPolicy.RequestVersionExact } };
        await socket.ConnectAsync(new Uri($"{(version == "2.0" ? "wss" : "ws")}://{device.Host}/"), invoker, CancellationToken.None);
        await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, true, CancellationToken.None);
        var buffer = new byte[100];
        var echoed = await socket.ReceiveAsync(buffer, CancellationToken.None);
        Assert.Equal("hello", Encoding.UTF8.GetString(buffer, 0, echoed.Count));
        await socket.ReceiveAsync(buffer, CancellationToken.None);
        Assert.Equal(((WebSocketCloseStatus?)4001, "enough"), (socket.CloseStatus, socket.CloseStatusDescription));

        using var visitor = cluster[1].CreateVisitor(http);
        using var response = await visitor.GetAsync($"{(version == "2.0" ? "https" : "http")}://{device.Host}/", HttpCompletionOption.ResponseHeadersRead);
        await using var stream = await response.Content.ReadAsStreamAsync();
        await stream.ReadExactlyAsync(buffer.AsMemory(0, 5));
        Assert.Equal("first", Encoding.UTF8.GetString(buffer, 0, 5));
        mayGoOn.SetResult();
        await stream.ReadExactlyAsync(buffer.AsMemory(0, 6));
        Assert.Equal("second", Encoding.UTF8.GetString(buffer, 0, 6));
        await DisposeAsync(owned);
    }

    [Fact]
    public async Task A_failure_beyond_the_hop_has_the_same_name_as_at_home()
    {
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, new Uri($"http://127.0.0.1:{RedisServer.FreePort()}/"), owned);
        using var visitor = cluster[1].CreateVisitor();

        using var response = await visitor.GetAsync($"http://{device.Host}/");

        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.Equal("gateway; error=connection_refused", response.Headers.GetValues("Proxy-Status").Single());
        Assert.Contains("nothing-listens", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await DisposeAsync(owned);
    }

    [Fact]
    public async Task An_upload_that_the_other_node_gives_up_is_told_to_come_again()
    {
        // The node with the tunnel has room for one of them; the visitors' own node has no limit.
        await using var cluster = await TestCluster.StartAsync(1, new() { ["Limits:Device:BufferedBytes"] = "2097152" });
        await cluster.AddNodeAsync(new() { ["Limits:Device:BufferedBytes"] = "0" });
        await cluster.KnowEachOtherAsync();
        await using var app = await TestApp.StartAsync(static context => TestApp.UntilAbortedAsync(context.RequestAborted));
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, app.Url, owned);
        using var visitor = cluster[1].CreateVisitor();

        async Task<(HttpStatusCode Status, string RetryAfter, string Problem)> UploadAsync()
        {
            using var content = new ByteArrayContent(new byte[16 * 1024 * 1024]);
            using var response = await visitor.PostAsync($"http://{device.Host}/", content);
            return (response.StatusCode, $"{response.Headers.RetryAfter}", await response.Content.ReadAsStringAsync());
        }

        // One upload after the other pushes out the one before it; the last one stays.
        var uploads = Enumerable.Range(0, 12).Select(_ => UploadAsync()).ToList();
        for (var pushed = 0; pushed < 11; pushed++)
        {
            var first = await Eventually.ResultAsync(Task.WhenAny(uploads), "an upload is given up");
            uploads.Remove(first);
            var answer = await first;
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "2"), (answer.Status, answer.RetryAfter));
            Assert.Contains("device-busy", answer.Problem, StringComparison.Ordinal);
        }

        Assert.False(uploads[0].IsCompleted);
        visitor.CancelPendingRequests();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => uploads[0]);
        await DisposeAsync(owned);
    }

    [Fact]
    public async Task Switching_the_public_url_off_ends_what_crosses_a_hop()
    {
        await using var app = await TestApp.StartAsync(static async context =>
        {
            await context.Response.WriteAsync("first");
            await context.Response.Body.FlushAsync();
            await TestApp.UntilAbortedAsync(context.RequestAborted);
        });
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var device = await ConnectAsync(cluster, 0, app.Url, owned);
        using var visitor = cluster[1].CreateVisitor();
        using var response = await visitor.GetAsync($"http://{device.Host}/", HttpCompletionOption.ResponseHeadersRead);
        await using var stream = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[5];
        await stream.ReadExactlyAsync(buffer);

        await cluster[0].Devices.SetPublicUrlAsync(device.Uuid, false);

        await Assert.ThrowsAnyAsync<IOException>(async () => await stream.ReadExactlyAsync(buffer));
        using var after = await visitor.GetAsync($"http://{device.Host}/");
        Assert.Equal(HttpStatusCode.NotFound, after.StatusCode);
        await DisposeAsync(owned);
    }

    [Fact]
    public async Task A_stranger_on_the_inner_listener_is_refused_whatever_he_brings()
    {
        await using var cluster = await TestCluster.StartAsync(1);
        var address = cluster[0].Services.GetRequiredService<Nodes>().Self.Address!;
        using var own = new NodeIdentity(Microsoft.Extensions.Options.Options.Create(new ClusterOptions { Node = "stranger", Listen = "127.0.0.1:1" }), TimeProvider.System);
        foreach (var certificate in new[] { null, own.Certificate })
        {
            using var client = new HttpClient(new SocketsHttpHandler
            {
                SslOptions =
                {
                    RemoteCertificateValidationCallback = static (_, _, _, _) => true,
                    ClientCertificates = certificate is null ? [] : [certificate],
                    LocalCertificateSelectionCallback = (_, _, _, _, _) => certificate!,
                },
            })
            {
                DefaultRequestVersion = HttpVersion.Version20,
                DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            };
            using var request = new HttpRequestMessage(HttpMethod.Get, $"https://{address}/") { Version = HttpVersion.Version20, Headers = { { "Gateway-Hop", new string('a', 32) } } };

            try
            {
                using var response = await client.SendAsync(request);
                Assert.Equal(HttpStatusCode.Forbidden, response.StatusCode);

                // A node that was forgotten takes it for what it is, and not for the application's answer.
                Assert.Equal("gateway-node; error=node-unreachable", response.Headers.GetValues("Proxy-Status").Single());
            }
            catch (HttpRequestException exception)
            {
                // Without a certificate the handshake already fails.
                Assert.True(certificate is null, $"{exception}");
            }
        }
    }

    [Fact]
    public async Task A_node_that_does_not_know_the_secret_is_no_node()
    {
        await using var cluster = await TestCluster.StartAsync(2);
        await cluster.AddNodeAsync(new() { ["Cluster:Secret"] = "another secret of 32 characters and more" });
        var (one, stranger) = (cluster[0].Services.GetRequiredService<Nodes>(), cluster[2].Services.GetRequiredService<Nodes>());

        await one.RefreshAsync();
        await stranger.RefreshAsync();

        Assert.Equal(["node-0", "node-1"], one.Live.Select(static node => node.Id).Order(StringComparer.Ordinal));
        Assert.Equal(["node-2"], stranger.Live.Select(static node => node.Id));
    }
}
