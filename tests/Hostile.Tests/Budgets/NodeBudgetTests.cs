using System.Net;
using Gateway.Limits;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Gateway.Tests.Budgets;

/// <summary>What the node takes on before it refuses, and that what it has goes on.</summary>
public sealed class NodeBudgetTests
{
    private const string Nobody = $"nobody.{TestGateway.Domain}";

    [Fact]
    public async Task Connections_beyond_those_of_the_node_are_closed_and_operators_have_theirs()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Node:Connections"] = "3" });
        var held = new List<RawConnection>();
        for (var i = 0; i < 3; i++)
        {
            held.Add(await Dial.FromAsync($"127.0.0.{i + 2}", gateway.HttpPort));
            await held[i].SendAsync($"GET / HTTP/1.1\r\nHost: {Nobody}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 404 ", await held[i].ReadHeadAsync(), StringComparison.Ordinal);
        }

        Assert.Equal("", await Dial.AskAsync("127.0.0.9", gateway, Nobody));
        using var admin = new HttpClient();
        Assert.Contains("limit=\"node_connections\"", await admin.GetStringAsync($"http://127.0.0.1:{gateway.AdminPort}/metrics"), StringComparison.Ordinal);

        await held[0].DisposeAsync();
        await Eventually.TrueAsync(async () => Dial.StatusOf(await Dial.AskAsync("127.0.0.9", gateway, Nobody)) == 404, "there is room again");
        await held[1].DisposeAsync();
        await held[2].DisposeAsync();
    }

    [Fact]
    public async Task Tunnels_beyond_those_of_the_node_are_told_to_come_later()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Limits:Node:Tunnels"] = "1" });
        var (first, second) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        await using (var tunnel = await RawConnection.OpenAsync(gateway.HttpPort))
        {
            await tunnel.SendAsync(Handshakes.Of(first));
            Assert.StartsWith("HTTP/1.1 101 ", await tunnel.ReadHeadAsync(), StringComparison.Ordinal);

            await using var refused = await RawConnection.OpenAsync(gateway.HttpPort);
            await refused.SendAsync(Handshakes.Of(second));
            var answer = await refused.ReadToEndAsync();
            Assert.StartsWith("HTTP/1.1 503 ", answer, StringComparison.Ordinal);
            Assert.Contains("Retry-After: 5\r\n", answer, StringComparison.Ordinal);
        }

        await Eventually.TrueAsync(
            async () =>
            {
                await using var tunnel = await RawConnection.OpenAsync(gateway.HttpPort);
                await tunnel.SendAsync(Handshakes.Of(second));
                return (await tunnel.ReadToBlankAsync()).StartsWith("HTTP/1.1 101 ", StringComparison.Ordinal);
            },
            "there is room again");
    }

    [Fact]
    public async Task A_node_whose_memory_runs_short_takes_nothing_new_keeps_what_it_has_and_recovers()
    {
        Memory memory = null!;
        await using var gateway = await TestGateway.StartAsync(
            new() { ["Storage:Timeout"] = "00:00:10" }, builder => builder.Services.Replace(ServiceDescriptor.Singleton<MemoryUse>(services => memory = new Memory(services.GetRequiredService<IOptions<LimitOptions>>()))));
        using var answer = new SemaphoreSlim(0);
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            await context.Response.WriteAsync("begun ");
            await context.Response.Body.FlushAsync();
            await answer.WaitAsync(context.RequestAborted);
            await context.Response.WriteAsync("and finished");
        }));
        var newcomer = await gateway.AddDeviceAsync();
        using var visitor = gateway.CreateVisitor();
        using var underWay = await visitor.GetAsync(visit.Url(HttpVersion.Version11), HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync("127.0.0.2", gateway, Nobody)));

        // Garbage alone refuses nobody.
        memory.Set(used: 90, afterReclaim: 50);
        await Eventually.TrueAsync(() => memory.Reclaims == 1, "garbage was looked for");
        Assert.Equal(404, Dial.StatusOf(await Dial.AskAsync("127.0.0.2", gateway, Nobody)));

        // What is in use does.
        memory.Set(used: 87, afterReclaim: 87);
        await Eventually.TrueAsync(async () => Dial.StatusOf(await Dial.AskAsync("127.0.0.2", gateway, Nobody)) == 503, "requests are refused");
        var refusal = await Dial.AskAsync("127.0.0.2", gateway, visit.Device.Host);
        Assert.Contains("Retry-After: 5\r\n", refusal, StringComparison.Ordinal);
        Assert.Contains("urn:device-gateway:problem:overloaded", refusal, StringComparison.Ordinal);
        await using (var tunnel = await RawConnection.OpenAsync(gateway.HttpPort))
        {
            await tunnel.SendAsync(Handshakes.Of(newcomer));
            Assert.StartsWith("HTTP/1.1 503 ", await tunnel.ReadToEndAsync(), StringComparison.Ordinal);
        }

        // Further on connections are, too.
        memory.Set(used: 96, afterReclaim: 96);
        await Eventually.TrueAsync(async () => (await Dial.AskAsync("127.0.0.2", gateway, Nobody)).Length == 0, "connections are refused");
        using var admin = new HttpClient();
        Assert.Contains("gateway_node_shedding", await admin.GetStringAsync($"http://127.0.0.1:{gateway.AdminPort}/metrics"), StringComparison.Ordinal);

        // What is under way goes on, and the tunnel is still there afterwards.
        answer.Release(2);
        Assert.Equal("begun and finished", await underWay.Content.ReadAsStringAsync());
        memory.Set(used: 80, afterReclaim: 80);
        await Eventually.TrueAsync(async () => Dial.StatusOf(await Dial.AskAsync("127.0.0.2", gateway, Nobody)) == 503, "a little less is not enough");
        memory.Set(used: 70, afterReclaim: 70);
        await Eventually.TrueAsync(async () => Dial.StatusOf(await Dial.AskAsync("127.0.0.2", gateway, Nobody)) == 404, "requests are taken again");
        Assert.NotNull(gateway.Tunnels.Find(visit.Device.Uuid));
        Assert.Contains("and finished", await Dial.AskAsync("127.0.0.2", gateway, visit.Device.Host), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Limits:Exempt:0", "10.0.0.0/33", "give a network")]
    [InlineData("Limits:Visitor:Requests", "-1", "give 1 to 10000000, or 0")]
    [InlineData("Limits:Node:MemoryPercent", "100", "give 10 to 99")]
    [InlineData("Limits:Node:MemoryMib", "5", "at least 64")]
    public async Task A_wrong_limit_is_named(string key, string value, string remedy)
    {
        var wrong = await Assert.ThrowsAsync<OptionsValidationException>(() => TestGateway.StartAsync(new() { [key] = value }));

        Assert.Contains(key.Replace(":0", "[0]", StringComparison.Ordinal), wrong.Message, StringComparison.Ordinal);
        Assert.Contains(value, wrong.Message, StringComparison.Ordinal);
        Assert.Contains(remedy, wrong.Message, StringComparison.Ordinal);
    }

    /// <summary>Memory of which the test says how much there is, of 100.</summary>
    private sealed class Memory(IOptions<LimitOptions> options) : MemoryUse(options)
    {
        private long _used = 10;
        private long _afterReclaim = 10;
        private int _reclaims;

        public override long Used => Volatile.Read(ref _used);

        public override long Available => 100;

        public int Reclaims => Volatile.Read(ref _reclaims);

        public void Set(long used, long afterReclaim)
        {
            Volatile.Write(ref _afterReclaim, afterReclaim);
            Volatile.Write(ref _used, used);
        }

        public override void Reclaim()
        {
            Volatile.Write(ref _used, Volatile.Read(ref _afterReclaim));
            Interlocked.Increment(ref _reclaims);
        }
    }
}
