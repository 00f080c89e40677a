using System.Net;
using Gateway.Limits;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Time.Testing;

namespace Gateway.Tests.Budgets;

/// <summary>What one visitor's address may have, and that others do not notice when it wants more.</summary>
public sealed class VisitorBudgetTests
{
    private const string Greedy = "127.0.0.2";
    private const string Modest = "127.0.0.3";
    private const string Nobody = $"nobody.{TestGateway.Domain}";

    private static Task<TestGateway> StartAsync(Dictionary<string, string?> settings, Action<WebApplicationBuilder>? configure = null) =>
        TestGateway.StartAsync(new(settings, StringComparer.Ordinal) { ["Limits:ExemptLoopback"] = "false", ["Storage:Timeout"] = "00:00:10" }, configure);

    [Fact]
    public async Task Who_asks_too_often_gets_429_until_time_has_passed_and_others_are_served()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = await StartAsync(
            new() { ["Limits:Visitor:RequestsPerSecond"] = "3" }, builder => builder.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(time)));

        for (var i = 0; i < 6; i++)
        {
            Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        }

        var refused = await Dial.AskAsync(Greedy, gateway, Nobody);
        Assert.Equal(429, Dial.StatusOf(refused));
        Assert.Contains("Retry-After: 2\r\n", refused, StringComparison.Ordinal);
        Assert.Contains("Proxy-Status: gateway; error=http_request_denied\r\n", refused, StringComparison.Ordinal);
        Assert.Contains("urn:device-gateway:problem:too-many-requests", refused, StringComparison.Ordinal);
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Modest, gateway, Nobody)));

        time.Advance(TimeSpan.FromSeconds(1));
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        }

        Assert.Equal(429, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
    }

    [Fact]
    public async Task Connections_beyond_the_limit_are_closed_and_room_is_made_by_those_that_end()
    {
        await using var gateway = await StartAsync(new() { ["Limits:Visitor:Connections"] = "3" });
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var device = await gateway.AddDeviceAsync();

        var held = new List<RawConnection>();
        for (var i = 0; i < 3; i++)
        {
            held.Add(await Dial.FromAsync(Greedy, gateway.HttpPort));
            await held[i].SendAsync($"GET / HTTP/1.1\r\nHost: {Nobody}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 404 ", await held[i].ReadHeadAsync(), StringComparison.Ordinal);
        }

        Assert.Equal("", await Dial.AskAsync(Greedy, gateway, Nobody));
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Modest, gateway, Nobody)));

        await held[0].DisposeAsync();
        await Eventually.TrueAsync(async () => Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)) == 404, "there is room again");
        await held[1].DisposeAsync();
        await held[2].DisposeAsync();
    }

    [Fact]
    public async Task Who_connects_too_often_is_closed_until_time_has_passed_and_others_are_served()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = await StartAsync(
            new() { ["Limits:Visitor:ConnectsPerSecond"] = "1" }, builder => builder.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(time)));

        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        }

        Assert.Equal("", await Dial.AskAsync(Greedy, gateway, Nobody));
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Modest, gateway, Nobody)));
        using var admin = new HttpClient();
        Assert.Contains("limit=\"visitor_connects\"", await admin.GetStringAsync($"http://127.0.0.1:{gateway.AdminPort}/metrics"), StringComparison.Ordinal);

        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        Assert.Equal("", await Dial.AskAsync(Greedy, gateway, Nobody));
    }

    [Fact]
    public async Task Tunnels_are_no_connections_of_visitors_and_strangers_that_knock_are()
    {
        await using var gateway = await StartAsync(new() { ["Limits:Visitor:Connections"] = "2" });
        var tunnels = new List<RawConnection>();
        for (var i = 0; i < 5; i++)
        {
            // Many devices behind one address.
            var device = await gateway.AddDeviceAsync();
            await Eventually.TrueAsync(
                async () =>
                {
                    var tunnel = await Dial.FromAsync(Greedy, gateway.HttpPort);
                    await tunnel.SendAsync(Handshakes.Of(device));
                    tunnels.Add(tunnel);
                    return (await tunnel.ReadToBlankAsync()).StartsWith("HTTP/1.1 101 ", StringComparison.Ordinal);
                },
                "the tunnel is up");
        }

        // Who only says half of it, counts.
        var half = new List<RawConnection>();
        await Eventually.TrueAsync(
            async () =>
            {
                half.Add(await Dial.FromAsync(Greedy, gateway.HttpPort));
                try
                {
                    await half[^1].SendAsync("GET /v1/devices/");
                }
                catch (IOException)
                {
                    // It found no room: the server takes up connections in any order, and the question before was not gone yet.
                }

                return (await Dial.AskAsync(Greedy, gateway, Nobody)).Length == 0;
            },
            "the address has no room left");
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Modest, gateway, Nobody)));
        foreach (var connection in tunnels.Concat(half))
        {
            await connection.DisposeAsync();
        }
    }

    [Fact]
    public async Task Requests_in_flight_beyond_the_limit_get_429_and_those_before_go_on()
    {
        await using var gateway = await StartAsync(new() { ["Limits:Visitor:Requests"] = "2" });
        using var answer = new SemaphoreSlim(0);
        var arrived = 0;
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            Interlocked.Increment(ref arrived);
            await answer.WaitAsync(context.RequestAborted);
            await context.Response.WriteAsync("at last");
        }));

        var waiting = Enumerable.Range(0, 2).Select(_ => Dial.AskAsync(Greedy, gateway, visit.Device.Host)).ToList();
        await Eventually.TrueAsync(() => Volatile.Read(ref arrived) == 2, "both are in flight");
        Assert.Equal(429, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Modest, gateway, Nobody)));

        answer.Release(2);
        Assert.All(await Task.WhenAll(waiting), static text => Assert.Contains("at last", text, StringComparison.Ordinal));
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
    }

    [Fact]
    public async Task Behind_a_proxy_each_visitor_has_a_budget_and_an_IPv6_network_has_one()
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using var gateway = await StartAsync(
            new() { ["Limits:Visitor:RequestsPerSecond"] = "1", ["Limits:Visitor:Connections"] = "1", ["Edge:TrustedProxies:0"] = $"{Greedy}/32" },
            builder => builder.Services.Replace(ServiceDescriptor.Singleton<TimeProvider>(time)));
        await using var kept = await Dial.FromAsync(Greedy, gateway.HttpPort);
        Task<string> AskForAsync(string visitor) => Dial.AskAsync(Greedy, gateway, Nobody, $"X-Forwarded-For: {visitor}\r\n");

        Assert.Equal(404, Dial.StatusOf(await AskForAsync("2001:db8:0:1::1")));
        Assert.Equal(404, Dial.StatusOf(await AskForAsync("2001:db8:0:1:ffff::2")));
        Assert.Equal(429, Dial.StatusOf(await AskForAsync("2001:db8:0:1::3")));
        Assert.Equal(404, Dial.StatusOf(await AskForAsync("2001:db8:0:2::1")));
        Assert.Equal(404, Dial.StatusOf(await AskForAsync("203.0.113.1")));
        Assert.Equal(404, Dial.StatusOf(await AskForAsync("203.0.113.2")));
    }

    [Fact]
    public async Task Who_is_exempt_has_no_limits()
    {
        await using var gateway = await StartAsync(new()
        {
            ["Limits:Visitor:RequestsPerSecond"] = "1", ["Limits:Visitor:Connections"] = "1", ["Limits:Exempt:0"] = $"{Greedy}/32",
        });
        await using var kept = await Dial.FromAsync(Greedy, gateway.HttpPort);

        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync(Greedy, gateway, Nobody)));
        }
    }

    [Fact]
    public async Task Addresses_without_end_do_not_fill_memory()
    {
        await using var gateway = await StartAsync(new());
        var visitors = gateway.Services.GetRequiredService<VisitorBudgets>();

        var bytes = new byte[16];
        bytes[0] = 0x20;
        var most = 0;
        for (var i = 0; i < 4 * VisitorBudgets.Capacity; i++)
        {
            System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(4), i);
            var use = visitors.Find(new IPAddress(bytes))!;
            Assert.True(use.TryEnter(1));
            use.Leave();
            most = Math.Max(most, visitors.Count);
        }

        Assert.InRange(most, 1, VisitorBudgets.Capacity);
    }

    [Fact]
    public void What_passes_allocates_nothing()
    {
        var pace = PaceLimit.Of(1000, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2), TimeProvider.System);
        var visitor = new VisitorUse();
        var device = new DeviceUse();
        var limits = new LimitOptions.DeviceLimits();
        bool Pass(long now) => visitor.TryTake(pace, now) && visitor.TryEnter(1000) && device.TryEnter(limits, isWebSocket: true);
        Assert.True(Pass(1));
        visitor.Leave();
        device.Leave(isWebSocket: true);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var passed = 0;
        for (var i = 0; i < 1000; i++)
        {
            passed += Pass(1) ? 1 : 0;
            visitor.Leave();
            device.Leave(isWebSocket: true);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal(1000, passed);
    }

    [Theory]
    [InlineData(1, 2, 2)]
    [InlineData(1000, 2, 2000)]
    [InlineData(0, 2, 10_000)]
    public void A_pace_allows_a_burst_and_then_one_at_a_time(int perSecond, int seconds, int expected)
    {
        var time = new FakeTimeProvider();
        var limit = PaceLimit.Of(perSecond, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(seconds), time);
        var pace = default(Pace);
        int Take() => Enumerable.Range(0, 10_000).Count(_ => pace.TryTake(limit, time.GetTimestamp()));

        Assert.Equal(expected, Take());
        if (perSecond > 0)
        {
            Assert.False(pace.IsFull(time.GetTimestamp()));
            time.Advance(TimeSpan.FromSeconds(1));
            Assert.Equal(perSecond, Take());
            time.Advance(TimeSpan.FromHours(1));
            Assert.True(pace.IsFull(time.GetTimestamp()));
            Assert.Equal(expected, Take());
        }
    }
}
