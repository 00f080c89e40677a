using System.Collections.Concurrent;
using Gateway.Listeners.Tls;
using Gateway.Telemetry;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Gateway.Tests.Listeners;

/// <summary>When devices' handshakes begin, by a clock that the test moves.</summary>
public sealed class HandshakeBudgetTests
{
    private static readonly TimeSpan Turn = TimeSpan.FromMilliseconds(5); // of 200 in a second

    [Fact]
    public async Task Two_begin_at_once_and_the_others_one_after_another_in_the_order_in_which_they_came()
    {
        await using var services = new ServiceCollection().AddMetrics().AddSingleton<GatewayMetrics>().BuildServiceProvider();
        var time = new FakeTimeProvider();
        await using var budget = NewBudget(services, time);
        var begun = new ConcurrentQueue<Arrival>();
        var arrivals = Enumerable.Range(0, 6).Select(_ => new Arrival(begun)).ToArray();

        Assert.All(arrivals, arrival => Assert.True(budget.TryEnter(arrival)));

        Assert.Equal(arrivals[..2], begun);
        for (var turns = 1; begun.Count < arrivals.Length; turns++)
        {
            time.Advance(Turn);
            await Task.Yield();
            Assert.InRange(begun.Count, 2, 2 + turns);
        }

        Assert.Equal(arrivals, begun);
    }

    [Fact]
    public async Task Who_has_gone_takes_no_turn()
    {
        await using var services = new ServiceCollection().AddMetrics().AddSingleton<GatewayMetrics>().BuildServiceProvider();
        var time = new FakeTimeProvider();
        await using var budget = NewBudget(services, time);
        var arrivals = Enumerable.Range(0, 4).Select(static _ => new Arrival([])).ToArray();
        Assert.All(arrivals, arrival => Assert.True(budget.TryEnter(arrival)));
        arrivals[2].IsThere = false;

        await Eventually.TrueAsync(
            () =>
            {
                time.Advance(Turn);
                return arrivals[3].HasBegun;
            },
            "the next one begins");

        Assert.False(arrivals[2].HasBegun);
        Assert.True(arrivals[2].HasLeft);
    }

    [Fact]
    public async Task Those_who_wait_when_the_node_stops_are_closed()
    {
        await using var services = new ServiceCollection().AddMetrics().AddSingleton<GatewayMetrics>().BuildServiceProvider();
        var arrivals = Enumerable.Range(0, 4).Select(static _ => new Arrival([])).ToArray();
        await using (var budget = NewBudget(services, new FakeTimeProvider()))
        {
            Assert.All(arrivals, arrival => Assert.True(budget.TryEnter(arrival)));
        }

        Assert.All(arrivals[..2], static arrival => Assert.False(arrival.HasLeft));
        Assert.All(arrivals[2..], static arrival => Assert.True(arrival.HasLeft));
    }

    private static HandshakeBudget NewBudget(ServiceProvider services, TimeProvider time) =>
        new(Options.Create(new TlsOptions { DeviceHandshakesPerSecond = 200, MaxWaitingHandshakes = 10 }), services.GetRequiredService<GatewayMetrics>(), time);

    private sealed class Arrival(ConcurrentQueue<Arrival> begun) : HandshakeBudget.IArrival
    {
        public bool IsThere { get; set; } = true;

        public bool HasBegun => begun.Contains(this);

        public bool HasLeft { get; private set; }

        public void Begin() => begun.Enqueue(this);

        public void Leave() => HasLeft = true;
    }
}
