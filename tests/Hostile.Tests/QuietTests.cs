using System.Net.Sockets;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Gateway.Tests;

/// <summary>Visitors who go away are everyday life, and no error of gateway or agent.</summary>
public sealed class QuietTests
{
    private const int Times = 25;

    /// <summary>What the visitor does before it is gone, and whether the application answers before it has read.</summary>
    public static TheoryData<string, string> Departures
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var app in new[] { "reads", "answers at once", "answers without end", "echoes" })
            {
                foreach (var end in new[] { "reset of the connection", "end of the connection", "reset of the stream", "end within a frame" })
                {
                    all.Add(app, end);
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Departures))]
    public async Task A_visitor_who_goes_away_during_an_exchange_leaves_no_line_in_any_log(string app, string end)
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Timeout"] = "00:00:10" }, static builder => builder.Logging.AddFakeLogging());
        var inFlight = 0;
        await using var application = await TestApp.StartAsync(async context =>
        {
            Interlocked.Increment(ref inFlight);
            try
            {
                await AnswerAsync(context, app);
            }
            catch (Exception exception) when (exception is IOException or OperationCanceledException)
            {
                // The visitor has gone.
            }
            finally
            {
                Interlocked.Decrement(ref inFlight);
            }
        });
        var device = await gateway.AddDeviceAsync();
        await using var agent = ChildProcess.StartOwn(
            "gateway-agent",
            ["--gateway", $"http://tunnel.{TestGateway.Domain}:{gateway.HttpPort}", "--uuid", $"{device.Uuid}", "--target", application.Url.GetLeftPart(UriPartial.Authority), "--connections", "1"],
            new() { ["GATEWAY_KEY"] = device.Key });
        await agent.WaitForOutputAsync("Tunnel up");

        // What is said at the levels that a gateway has by default; not of the tests' other nodes, and of the tunnel that came.
        static bool IsSaid(FakeLogRecord record) =>
            record.Level >= LogLevel.Information && record.Category?.StartsWith("Gateway.Cluster", StringComparison.Ordinal) != true && record.Category?.StartsWith("Gateway.Tunnels", StringComparison.Ordinal) != true;
        var before = gateway.Services.GetFakeLogCollector().GetSnapshot().Count(IsSaid);
        var saidBefore = agent.Output;
        var random = new Random(app.Length * end.Length);
        for (var i = 0; i < Times; i++)
        {
            await VisitAsync(gateway, device.Host, end, TimeSpan.FromMilliseconds(random.Next(15)));
        }

        await Eventually.TrueAsync(() => Volatile.Read(ref inFlight) == 0, "the application has been told that all have gone");
        var lines = gateway.Services.GetFakeLogCollector().GetSnapshot().Where(IsSaid).Skip(before).Select(static record => $"{record.Level} {record.Category}: {record.Message} {record.Exception}").ToList();
        Assert.True(lines.Count == 0, $"{lines.Count} lines, the first: {lines.FirstOrDefault()}");
        Assert.Equal(saidBefore, agent.Output);
    }

    private static async Task AnswerAsync(HttpContext context, string app)
    {
        var stop = context.RequestAborted;
        switch (app)
        {
            case "reads":
                await context.Request.Body.CopyToAsync(Stream.Null, stop);
                break;
            case "answers at once":
                await context.Response.WriteAsync("no", stop);
                break;
            case "echoes":
                await context.Request.Body.CopyToAsync(context.Response.Body, stop);
                break;
            default:
                while (true)
                {
                    await context.Response.Body.WriteAsync(new byte[16 * 1024], stop);
                }
        }
    }

    private static async Task VisitAsync(TestGateway gateway, string host, string end, TimeSpan after)
    {
        if (end == "reset of the stream")
        {
            await using var connection = await RawHttp2.OpenAsync(gateway, host);
            await connection.SendAsync(Frame.Headers, Frame.EndHeaders, 1, RawHttp2.Encode((":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", host)));
            await connection.SendAsync(Frame.Data, 0, 1, new byte[8000]);
            await Task.Delay(after);
            await connection.SendAsync(Frame.ResetStream, 0, 1, [0, 0, 0, 8]);
            await connection.SendAsync(Frame.Ping, 0, 0, new byte[8]);
            _ = await connection.ReadAsync(Frame.Ping);
            return;
        }

        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(System.Net.IPAddress.Loopback, gateway.HttpPort);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n{new string('x', 4096)}\r\n"));
        await Task.Delay(after);
        if (end == "end within a frame")
        {
            await socket.SendAsync("1000\r\nxxxx"u8.ToArray());
        }

        if (end == "reset of the connection")
        {
            socket.LingerState = new LingerOption(true, 0);
        }
    }
}
