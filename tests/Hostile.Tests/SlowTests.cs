using Gateway.Tests.Attackers;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests;

/// <summary>Who is slow to hold up others is ended; who is quiet because there is nothing to say is not.</summary>
public sealed class SlowTests
{
    private static readonly Dictionary<string, string?> Impatient = new(StringComparer.Ordinal)
    {
        ["Listen:RequestHeadersTimeout"] = "00:00:01", ["Listen:MinContentRate"] = "1000", ["Listen:ContentGrace"] = "00:00:02", ["Storage:Timeout"] = "00:00:10",
    };

    private static Task<TestApp> StartEchoAsync() => TestApp.StartAsync(static async context =>
    {
        using var content = new MemoryStream();
        await context.Request.Body.CopyToAsync(content, context.RequestAborted);
        await context.Response.WriteAsync($"{content.Length} bytes");
    });

    [Fact]
    public async Task A_head_that_comes_byte_by_byte_is_ended()
    {
        await using var gateway = await TestGateway.StartAsync(Impatient);
        await using var visitor = await RawConnection.OpenAsync(gateway.HttpPort);
        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: nobody.{TestGateway.Domain}\r\nX-Slow: ");
        var answer = visitor.ReadToEndAsync();
        await TrickleAsync(() => visitor.SendAsync("x"), answer);

        Assert.StartsWith("HTTP/1.1 408 ", await answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_head_of_HTTP_2_that_comes_byte_by_byte_is_ended()
    {
        await using var gateway = await TestGateway.StartAsync(Impatient);
        var host = $"nobody.{TestGateway.Domain}";
        await using var visitor = await RawHttp2.OpenAsync(gateway, host);
        await visitor.SendAsync(Frame.Headers, Frame.EndStream, 1, RawHttp2.Encode((":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", host)));
        var end = visitor.ReadAsync(Frame.GoAway);
        await TrickleAsync(() => visitor.SendAsync(Frame.Continuation, 0, 1, RawHttp2.Encode(("x-slow", "x"))), end);

        _ = await end;
        Assert.Null(await visitor.ReadAsync(Frame.Headers));
    }

    [Fact]
    public async Task A_content_that_comes_byte_by_byte_is_ended_and_a_stream_may_be_quiet()
    {
        await using var gateway = await TestGateway.StartAsync(Impatient);
        await using var visit = await Visit.ToAsync(gateway, await StartEchoAsync());
        var host = visit.Device.Host;
        await using var stream = await RawConnection.OpenAsync(gateway.HttpPort);
        await stream.SendAsync($"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n");

        await using var slow = await RawConnection.OpenAsync(gateway.HttpPort);
        await slow.SendAsync($"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000000\r\n\r\n");
        var answer = slow.ReadToEndAsync();
        await TrickleAsync(() => slow.SendAsync("x"), answer);

        Assert.StartsWith("HTTP/1.1 408 ", await answer, StringComparison.Ordinal);
        Assert.Contains("urn:device-gateway:problem:bad-request", await answer, StringComparison.Ordinal);
        await stream.SendAsync("4\r\nlast\r\n0\r\n\r\n");
        Assert.Contains("9 bytes", await stream.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_content_of_HTTP_2_that_comes_byte_by_byte_is_ended_and_a_stream_beside_it_may_be_quiet()
    {
        await using var gateway = await TestGateway.StartAsync(Impatient);
        await using var visit = await Visit.ToAsync(gateway, await StartEchoAsync());
        (string, string)[] head = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", visit.Device.Host)];
        await using var quiet = await RawHttp2.OpenAsync(gateway, visit.Device.Host);
        await quiet.SendAsync(Frame.Headers, Frame.EndHeaders, 1, RawHttp2.Encode(head));

        await using var slow = await RawHttp2.OpenAsync(gateway, visit.Device.Host);
        await slow.SendAsync(Frame.Headers, Frame.EndHeaders, 1, RawHttp2.Encode([.. head, ("content-length", "1000000")]));
        var end = slow.ReadAsync(Frame.ResetStream, Frame.GoAway, Frame.Headers);
        await TrickleAsync(() => slow.SendAsync(Frame.Data, 0, 1, "x"u8.ToArray()), end);

        Assert.NotEqual(200, await end is { Type: Frame.Headers } answered ? answered.Status : 0);
        await quiet.SendAsync(Frame.Data, Frame.EndStream, 1, "at last"u8.ToArray());
        Assert.Equal(200, (await quiet.ReadAsync(Frame.Headers))!.Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_device_that_floods_its_tunnel_and_reads_nothing_is_cut_off_whatever_waits_for_it(bool tls)
    {
        // The kernel would wait for it as long as this.
        await using var gateway = await TestGateway.StartAsync(new() { ["Tunnels:DeadAfter"] = "00:10:00", ["Storage:Timeout"] = "00:00:10" });
        var device = await gateway.AddDeviceAsync();
        await using var agent = await RawConnection.OpenAsync(tls ? gateway.HttpsPort : gateway.HttpPort, tls, $"tunnel.{TestGateway.Domain}");
        await agent.SendAsync(Handshakes.Of(device));
        Assert.StartsWith("HTTP/1.1 101 ", await agent.ReadHeadAsync(), StringComparison.Ordinal);

        // Its windows are as wide as can be: an upload fills every buffer on the way.
        await agent.Stream.WriteAsync(
            (byte[])[.. Http2Writer.Frame(Frame.Settings, 0, 0, Http2Writer.Setting(4, 0x7fffffff)), .. Http2Writer.Frame(Frame.WindowUpdate, 0, 0, Http2Writer.Number(0x7fff0000))],
            TestContext.Current.CancellationToken);
        await using var visitor = await RawConnection.OpenAsync(gateway.HttpPort);
        await visitor.SendAsync($"POST / HTTP/1.1\r\nHost: {device.Host}\r\nContent-Length: 1000000000\r\n\r\n");
        var sent = 0L;
        var uploading = WriteAsync(visitor.Stream, new byte[64 * 1024], count => Interlocked.Add(ref sent, count));
        await Eventually.StillAsync(() => Interlocked.Read(ref sent), "nothing moves any more");

        var flooding = WriteAsync(agent.Stream, Http2Writer.Repeat(500, static _ => Http2Writer.Frame(Frame.Ping, 0, 0, new byte[8])), static _ => { });
        await Eventually.EndsAsync(flooding, "the device is cut off");
        await Eventually.EndsAsync(uploading, "and its visitor is told");
    }

    // Writes the same again and again, until nobody takes it any more.
    private static async Task WriteAsync(Stream stream, byte[] part, Action<int> written)
    {
        try
        {
            while (true)
            {
                await stream.WriteAsync(part);
                written(part.Length);
            }
        }
        catch (IOException)
        {
            // Ended.
        }
    }

    // A byte now and then, until there is an answer.
    private static async Task TrickleAsync(Func<Task> send, Task answer)
    {
        while (!answer.IsCompleted)
        {
            try
            {
                await send();
            }
            catch (IOException)
            {
                return;
            }

            await Task.WhenAny(answer, Task.Delay(100, CancellationToken.None));
        }
    }
}
