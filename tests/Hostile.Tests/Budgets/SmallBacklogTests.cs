using System.Diagnostics;
using System.Net;
using Gateway.Tests.Attackers;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Budgets;

/// <summary>
/// Responses that are complete, and so small that the server takes them whatever the visitor's windows of HTTP/2 say: as long as
/// they have not left, they are requests in flight, have the device's limit, and an end.
/// </summary>
[Collection(nameof(Alone))]
public sealed class SmallBacklogTests(ITestOutputHelper output)
{
    private static Task<TestApp> StartAsync() => TestApp.StartAsync(static context => context.Response.WriteAsync(new string('x', context.Request.Path == "/large" ? 50_000 : 3_000)));

    private static Task AskAsync(RawHttp2 visitor, int stream, string host, string path = "/") =>
        visitor.RequestAsync(stream, (":method", "GET"), (":scheme", "https"), (":path", path), (":authority", host));

    private static Task CloseWindowsAsync(RawHttp2 visitor) => visitor.SendAsync(Frame.Settings, 0, 0, Http2Writer.Setting(4, 0));

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_small_response_that_stays_behind_a_closed_window_is_ended_in_time_and_no_other_one(bool isDevice)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:StalledReadTimeout"] = "00:00:02", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await StartAsync());
        var host = visit.Device.Host;
        await using var visitor = await RawHttp2.OpenAsync(gateway, host);

        // Much is read first: the server grants a second for each of its bytes.
        await AskAsync(visitor, 1, host, "/large");
        while (((await visitor.ReadAsync(Frame.Data))!.Flags & Frame.EndStream) == 0)
        {
        }

        await CloseWindowsAsync(visitor);
        var asked = Stopwatch.GetTimestamp();
        await AskAsync(visitor, 3, isDevice ? host : $"nobody.{TestGateway.Domain}");
        Assert.Equal(isDevice ? 200 : 404, (await visitor.ReadAsync(Frame.Headers))!.Status);
        var end = await visitor.ReadAsync(Frame.Data, Frame.ResetStream, Frame.GoAway);

        output.WriteLine($"ended after {Stopwatch.GetElapsedTime(asked).TotalSeconds:0.0} s");
        Assert.Equal((Frame.ResetStream, 3), (end!.Type, end.StreamId));
        Assert.InRange(Stopwatch.GetElapsedTime(asked).TotalSeconds, 2, 20);

        // Whose window is opened in time, lives.
        await AskAsync(visitor, 5, host);
        Assert.Equal(200, (await visitor.ReadAsync(Frame.Headers))!.Status);
        await visitor.SendAsync(Frame.WindowUpdate, 0, 5, Http2Writer.Number(10_000));
        Assert.Equal((Frame.Data, 5), (await visitor.ReadAsync(Frame.Data, Frame.ResetStream, Frame.GoAway)) is { } data ? (data.Type, data.StreamId) : default);
    }

    [Theory]
    [InlineData("Limits:Visitor:Requests", HttpStatusCode.TooManyRequests)]
    [InlineData("Limits:Device:Requests", HttpStatusCode.ServiceUnavailable)]
    public async Task Small_responses_behind_closed_windows_are_requests_in_flight_until_they_leave(string limit, HttpStatusCode refusal)
    {
        await using var gateway = await TestGateway.StartAsync(new() { [limit] = "20", ["Limits:ExemptLoopback"] = "false", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await StartAsync());
        var host = visit.Device.Host;
        using var other = gateway.CreateVisitor();
        async Task<HttpStatusCode> StatusAsync()
        {
            using var response = await other.GetAsync(visit.Url(HttpVersion.Version11), TestContext.Current.CancellationToken);
            return response.StatusCode;
        }

        // Opened, reset, or closed: however they end, there is room again.
        foreach (var end in new[] { "opened", "reset", "closed" })
        {
            var visitor = await RawHttp2.OpenAsync(gateway, host);
            await CloseWindowsAsync(visitor);
            for (var i = 0; i < 20; i++)
            {
                await AskAsync(visitor, 1 + (2 * i), host);
                Assert.Equal(200, (await visitor.ReadAsync(Frame.Headers))!.Status);
            }

            Assert.Equal(refusal, await StatusAsync());
            for (var i = 0; i < 20 && end != "closed"; i++)
            {
                await (end == "opened"
                    ? visitor.SendAsync(Frame.WindowUpdate, 0, 1 + (2 * i), Http2Writer.Number(10_000))
                    : visitor.SendAsync(Frame.ResetStream, 0, 1 + (2 * i), Http2Writer.Number(8)));
            }

            if (end == "closed")
            {
                await visitor.DisposeAsync();
            }

            await Eventually.TrueAsync(async () => await StatusAsync() == HttpStatusCode.OK, $"there is room once they are {end}");
            await visitor.DisposeAsync();
        }
    }

    [Fact]
    public async Task Small_responses_behind_closed_windows_have_the_device_s_limit_and_those_that_have_waited_longest_are_ended()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:BufferedBytes"] = "1048576", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await StartAsync());
        await using var visitor = await RawHttp2.OpenAsync(gateway, visit.Device.Host);
        await CloseWindowsAsync(visitor);

        // Each counts with 16 KiB: 64 may wait.
        for (var i = 0; i < 100; i++)
        {
            await AskAsync(visitor, 1 + (2 * i), visit.Device.Host);
        }

        var ended = new HashSet<int>();
        while (ended.Count < 36)
        {
            var frame = await visitor.ReadAsync(Frame.ResetStream, Frame.GoAway);
            Assert.Equal(Frame.ResetStream, frame!.Type);
            Assert.True(ended.Add(frame.StreamId));
        }

        await visitor.SendAsync(Frame.Ping, 0, 0, new byte[8]);
        Assert.Equal(Frame.Ping, (await visitor.ReadAsync(Frame.Ping, Frame.ResetStream, Frame.GoAway))!.Type);
    }
}
