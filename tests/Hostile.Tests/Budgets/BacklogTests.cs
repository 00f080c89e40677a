using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Budgets;

/// <summary>What waits in memory for those who do not read: it has a limit, and an end.</summary>
[Collection(nameof(Alone))]
public sealed class BacklogTests(ITestOutputHelper output)
{
    private static Task<TestApp> StreamAsync() => TestApp.StartAsync(static async context =>
    {
        try
        {
            while (true)
            {
                await context.Response.Body.WriteAsync(new byte[64 * 1024], context.RequestAborted);
            }
        }
        catch (OperationCanceledException)
        {
            // The visitor has gone.
        }
    });

    [Fact]
    public async Task What_the_visitors_of_a_device_leave_unread_has_a_limit_and_another_device_s_visitors_notice_nothing()
    {
        const int connections = 4;
        const int streams = 50;
        const long budget = 32 * 1024 * 1024;
        var port = RedisServer.FreePort();
        await using var gateway = await GatewayProcess.StartAsync(
            null, $"Limits:Device:BufferedBytes={budget}", $"Listen:Https=127.0.0.1:{port}", $"Edge:Domains:1={TestGateway.Domain}",
            $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}", "Storage:Timeout=00:00:10");
        await using var endless = await StreamAsync();
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var (device, other) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        await using var agent = gateway.StartAgent(device, endless.Url.GetLeftPart(UriPartial.Authority));
        await using var otherAgent = gateway.StartAgent(other, app.Url.GetLeftPart(UriPartial.Authority));
        await agent.WaitForOutputAsync("Tunnel up");
        await otherAgent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();
        var before = 0L;
        for (var i = 0; i < 100; i++)
        {
            Assert.Equal("here", await visitor.GetStringAsync(new Uri(gateway.Url(other))));
            before = GatewayProcess.Memory(gateway.Process);
        }

        // Visitors who open a window for a little, and then no more: what comes stays in the gateway.
        var unread = new List<RawHttp2>();
        for (var i = 0; i < connections; i++)
        {
            var connection = await RawHttp2.OpenAsync(port, device.Host);
            unread.Add(connection);
            for (var stream = 0; stream < streams; stream++)
            {
                await connection.RequestAsync(1 + (2 * stream), (":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", device.Host));
                if (stream % 10 == 0)
                {
                    Assert.Equal("here", await visitor.GetStringAsync(new Uri(gateway.Url(other))));
                }
            }
        }

        // All but those for whom there is room; each may have a mebibyte, and what is on its way beside it.
        var surplus = (connections * streams) - (int)(budget / (1024 * 1024));
        using var admin = new HttpClient();
        double ended = 0, waiting = 0;
        await Eventually.TrueAsync(
            async () =>
            {
                var metrics = await admin.GetStringAsync(new Uri($"http://127.0.0.1:{gateway.AdminPort}/metrics"));
                (ended, waiting) = (Value(metrics, "gateway_limits_refused_total{", "limit=\"device_buffered\""), Value(metrics, "gateway_exchanges_waiting_bytes", ""));
                return ended >= surplus;
            },
            "those who have waited longest are ended");
        Assert.Equal("here", await visitor.GetStringAsync(new Uri(gateway.Url(other))));
        var grown = GatewayProcess.PeakMemory(gateway.Process) - before;
        output.WriteLine($"{connections * streams} responses that nobody reads, of a device with {budget >> 20} MiB: {ended} were ended, {waiting / 1048576:0.0} MiB wait, memory grew by {grown >> 20} MiB at most; no request to another device failed");
        Assert.InRange(waiting, 1, budget);
        Assert.InRange(grown, 0, budget + (150 * 1024 * 1024));
        foreach (var connection in unread)
        {
            await connection.DisposeAsync();
        }
    }

    [Fact]
    public async Task An_upload_that_a_device_does_not_read_gives_way_to_later_ones_and_says_so()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:BufferedBytes"] = "2097152", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => TestApp.UntilAbortedAsync(context.RequestAborted)));
        await using var other = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        using var visitor = gateway.CreateVisitor();

        async Task<HttpResponseMessage> UploadAsync()
        {
            using var content = new ByteArrayContent(new byte[64 * 1024 * 1024]);
            return await visitor.PostAsync(visit.Url(HttpVersion.Version11), content, TestContext.Current.CancellationToken);
        }

        // Two are one too many, whichever has waited longest.
        Task<HttpResponseMessage>[] uploads = [UploadAsync(), UploadAsync(), UploadAsync()];
        using var answer = await await Task.WhenAny(uploads).WaitAsync(Eventually.Patience, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, answer.StatusCode);
        Assert.Equal("2", answer.Headers.RetryAfter!.ToString());
        Assert.Equal("here", await visitor.GetStringAsync(other.Url(HttpVersion.Version11)));
        visitor.CancelPendingRequests();
    }

    [Fact]
    public async Task A_visitor_who_stops_reading_is_ended_in_time_and_one_who_reads_slowly_is_not()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:StalledReadTimeout"] = "00:00:02", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await StreamAsync());
        using var slow = await AskAsync(gateway, visit.Device.Host);
        using var stops = await AskAsync(gateway, visit.Device.Host);

        // Much was read before, so that the server grants it a long time.
        var buffer = new byte[64 * 1024];
        for (var read = 0; read < 8 * 1024 * 1024;)
        {
            read += await stops.ReceiveAsync(buffer);
        }

        var stopped = Stopwatch.GetTimestamp();
        await Eventually.TrueAsync(
            async () =>
            {
                Assert.True(await slow.ReceiveAsync(buffer.AsMemory(0, 8 * 1024)) > 0, "the slow one is served");
                await Task.Delay(30);
                return HasEnded(stops);
            },
            "who does not read is ended");
        output.WriteLine($"ended after {Stopwatch.GetElapsedTime(stopped).TotalSeconds:0.0} s");
        Assert.InRange(Stopwatch.GetElapsedTime(stopped).TotalSeconds, 2, 20);

        // And lives on.
        for (var i = 0; i < 100; i++)
        {
            Assert.True(await slow.ReceiveAsync(buffer.AsMemory(0, 8 * 1024)) > 0);
            await Task.Delay(30, TestContext.Current.CancellationToken);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_window_of_HTTP_2_that_stays_closed_ends_its_stream_in_time_and_no_other_one(bool isEndless)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:StalledReadTimeout"] = "00:00:02", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, isEndless ? await StreamAsync() : await TestApp.StartAsync(static context => context.Response.WriteAsync(new string('x', 100_000))));
        await using var endless = await Visit.ToAsync(gateway, await StreamAsync());
        (string, string)[] Head(string host) => [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host)];
        await using var visitor = await RawHttp2.OpenAsync(gateway, visit.Device.Host);

        // Stream 1 is never opened; stream 3 a little now and then.
        await visitor.RequestAsync(1, Head(visit.Device.Host));
        await visitor.RequestAsync(3, Head(endless.Device.Host));
        var taken = 0;
        var more = new byte[4];
        while (true)
        {
            var frame = await visitor.ReadAsync(Frame.Data, Frame.ResetStream, Frame.GoAway);
            Assert.NotNull(frame);
            if (frame.StreamId == 1 && frame.Type == Frame.ResetStream)
            {
                break;
            }

            Assert.Equal(Frame.Data, frame.Type);
            BinaryPrimitives.WriteInt32BigEndian(more, Math.Max(1, frame.Payload.Length));
            await visitor.SendAsync(Frame.WindowUpdate, 0, 0, more);
            if (frame.StreamId == 3)
            {
                taken += frame.Payload.Length;
                await visitor.SendAsync(Frame.WindowUpdate, 0, 3, more);
                await Task.Delay(20, TestContext.Current.CancellationToken);
            }
        }

        output.WriteLine($"stream 1 was reset; stream 3 has had {taken} bytes");
        Assert.True(taken > 0);
        for (var i = 0; i < 20; i++)
        {
            var frame = await visitor.ReadAsync(Frame.Data, Frame.ResetStream, Frame.GoAway);
            Assert.Equal((Frame.Data, 3), (frame!.Type, frame.StreamId));
            BinaryPrimitives.WriteInt32BigEndian(more, Math.Max(1, frame.Payload.Length));
            await visitor.SendAsync(Frame.WindowUpdate, 0, 0, more);
            await visitor.SendAsync(Frame.WindowUpdate, 0, 3, more);
        }
    }

    private static async Task<Socket> AskAsync(TestGateway gateway, string host)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 16 * 1024 };
        await socket.ConnectAsync(IPAddress.Loopback, gateway.HttpPort);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        return socket;
    }

    // Reset, or closed as seen by the kernel, however much lies unread before the end (tcp_info's state 1 is ESTABLISHED).
    private static bool HasEnded(Socket socket)
    {
        Span<byte> info = stackalloc byte[8];
        return socket.GetRawSocketOption(6, 11, info) > 0 && info[0] != 1;
    }

    private static double Value(string metrics, string name, string label) => metrics.Split('\n')
        .Where(line => line.StartsWith(name, StringComparison.Ordinal) && line.Contains(label, StringComparison.Ordinal))
        .Select(static line => double.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture)).FirstOrDefault();
}
