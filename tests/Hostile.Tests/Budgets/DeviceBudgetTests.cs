using System.Net;
using System.Net.WebSockets;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Time.Testing;

namespace Gateway.Tests.Budgets;

/// <summary>What one device may have, and that others do not notice when it has that much.</summary>
public sealed class DeviceBudgetTests
{
    [Fact]
    public async Task A_device_with_all_the_requests_that_it_may_have_is_busy_and_others_are_not()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:Requests"] = "3", ["Storage:Timeout"] = "00:00:10" });
        using var answer = new SemaphoreSlim(0);
        var arrived = 0;
        await using var busy = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            Interlocked.Increment(ref arrived);
            await answer.WaitAsync(context.RequestAborted);
            await context.Response.WriteAsync("at last");
        }));
        await using var other = await Visit.ToAsync(gateway, await TestApp.StartAsync(static context => context.Response.WriteAsync("here")));
        using var visitor = gateway.CreateVisitor();

        var waiting = Enumerable.Range(0, 3).Select(_ => visitor.GetStringAsync(busy.Url(HttpVersion.Version11))).ToList();
        await Eventually.TrueAsync(() => Volatile.Read(ref arrived) == 3, "all are in flight");
        using (var refused = await visitor.GetAsync(busy.Url(HttpVersion.Version11)))
        {
            Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
            Assert.Equal("2", refused.Headers.RetryAfter!.ToString());
            Assert.Contains("device-busy", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        Assert.Equal("here", await visitor.GetStringAsync(other.Url(HttpVersion.Version11)));

        answer.Release(100);
        Assert.Equal(["at last", "at last", "at last"], await Task.WhenAll(waiting));
        await Eventually.TrueAsync(
            async () =>
            {
                using var response = await visitor.GetAsync(busy.Url(HttpVersion.Version11));
                return response.IsSuccessStatusCode;
            },
            "there is room again");
    }

    [Fact]
    public async Task WebSockets_have_a_limit_of_their_own_and_leave_room_for_requests()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Device:WebSockets"] = "1", ["Storage:Timeout"] = "00:00:10" });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(
            static _ => { },
            static app =>
            {
                app.UseWebSockets();
                app.Run(static async context =>
                {
                    if (context.WebSockets.IsWebSocketRequest)
                    {
                        using var socket = await context.WebSockets.AcceptWebSocketAsync();
                        await socket.ReceiveAsync(new byte[1], context.RequestAborted);
                    }
                    else
                    {
                        await context.Response.WriteAsync("here");
                    }
                });
            }));
        using var visitor = gateway.CreateVisitor();
        using var handler = new HttpMessageInvoker(gateway.CreateHandler());
        var address = new Uri($"ws://{visit.Device.Host}/");
        using var first = new ClientWebSocket();
        await first.ConnectAsync(address, handler, TestContext.Current.CancellationToken);

        using var second = new ClientWebSocket { Options = { CollectHttpResponseDetails = true } };
        await Assert.ThrowsAsync<WebSocketException>(() => second.ConnectAsync(address, handler, TestContext.Current.CancellationToken));
        Assert.Equal(HttpStatusCode.ServiceUnavailable, second.HttpStatusCode);
        Assert.Equal("here", await visitor.GetStringAsync(visit.Url(HttpVersion.Version11)));

        first.Abort();
        await Eventually.TrueAsync(
            async () =>
            {
                using var third = new ClientWebSocket();
                try
                {
                    await third.ConnectAsync(address, handler, TestContext.Current.CancellationToken);
                    return true;
                }
                catch (WebSocketException)
                {
                    return false;
                }
            },
            "there is room again");
    }

    [Fact]
    public async Task A_device_that_dials_too_often_is_told_to_wait_and_strangers_cannot_use_up_its_dials()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = await TestGateway.StartAsync(
            new() { ["Limits:Device:ConnectsPerMinute"] = "3", ["Tunnels:MaxFailureDelay"] = "00:00:00" }, builder => builder.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(time)));
        var (restless, other) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        async Task<string> KnockAsync(TestDevice device, string? key = null)
        {
            await using var connection = await RawConnection.OpenAsync(gateway.HttpPort);
            await connection.SendAsync(Handshakes.Of(device, key));
            return await connection.ReadToBlankAsync();
        }

        for (var i = 0; i < 10; i++)
        {
            Assert.StartsWith("HTTP/1.1 401 ", await KnockAsync(restless, "guessed"), StringComparison.Ordinal);
        }

        for (var i = 0; i < 3; i++)
        {
            Assert.StartsWith("HTTP/1.1 101 ", await KnockAsync(restless), StringComparison.Ordinal);
        }

        var refused = await KnockAsync(restless);
        Assert.StartsWith("HTTP/1.1 429 ", refused, StringComparison.Ordinal);
        Assert.Contains("Retry-After: 10\r\n", refused, StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 101 ", await KnockAsync(other), StringComparison.Ordinal);

        time.Advance(TimeSpan.FromSeconds(20));
        Assert.StartsWith("HTTP/1.1 101 ", await KnockAsync(restless), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 429 ", await KnockAsync(restless), StringComparison.Ordinal);
    }
}
