using Gateway.Limits;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace Gateway.Tests.Budgets;

/// <summary>When a node gives memory back, and when it leaves its visitors in peace.</summary>
public sealed class QuietMemoryTests : IDisposable
{
    private const long Mebibyte = 1 << 20;

    private readonly Memory _memory = new();
    private readonly QuietMemory _quiet;

    public QuietMemoryTests() => _quiet = new QuietMemory(_memory, TimeProvider.System, NullLogger<QuietMemory>.Instance);

    public void Dispose() => _quiet.Dispose();

    [Fact]
    public void Memory_is_given_back_once_when_much_work_is_over()
    {
        // Busy: there is much to give back, and no time for it.
        for (var i = 0; i < 5; i++)
        {
            Assert.Equal(0, ReclaimsAfter(100 * Mebibyte));
        }

        for (var i = 0; i < 10; i++)
        {
            Assert.Equal(1, ReclaimsAfter(Mebibyte));
        }
    }

    [Fact]
    public void A_quiet_node_stands_still_only_when_it_is_worth_it()
    {
        _memory.Living = 100 * Mebibyte;
        Assert.Equal(0, ReclaimsAfter(40 * Mebibyte));
        Assert.Equal(1, ReclaimsAfter(0));

        // Always quiet: 200 MiB, twice what lives, come together in 50 intervals.
        for (var i = 1; i < 50; i++)
        {
            Assert.Equal(1, ReclaimsAfter(4 * Mebibyte));
        }

        Assert.Equal(2, ReclaimsAfter(4 * Mebibyte));
        Assert.Equal(2, ReclaimsAfter(4 * Mebibyte));
    }

    [Fact]
    public void What_a_node_may_do_and_be_quiet_grows_with_what_lives_in_it()
    {
        _memory.Living = 300 * Mebibyte;
        Assert.Equal(0, ReclaimsAfter(700 * Mebibyte));
        Assert.Equal(1, ReclaimsAfter(0));

        // The records of many tunnels, read anew: 600 MiB come together in 15 intervals.
        for (var i = 1; i < 15; i++)
        {
            Assert.Equal(1, ReclaimsAfter(40 * Mebibyte));
        }

        Assert.Equal(2, ReclaimsAfter(40 * Mebibyte));
        Assert.Equal(2, ReclaimsAfter(700 * Mebibyte));
        Assert.Equal(2, ReclaimsAfter(60 * Mebibyte));
    }

    [Fact]
    public void A_node_that_has_done_hardly_anything_has_nothing_to_give_back()
    {
        for (var i = 0; i < 7; i++)
        {
            Assert.Equal(0, ReclaimsAfter(4 * Mebibyte));
        }
    }

    [Fact]
    public async Task A_gateway_gives_memory_back_by_itself()
    {
        _memory.Sum = 100 * Mebibyte;
        await using var gateway = await TestGateway.StartAsync(
            configure: builder => builder.Services.Replace(ServiceDescriptor.Singleton<MemoryUse>(_memory)));

        await Eventually.TrueAsync(() => _memory.Reclaims == 1, "memory is given back");
    }

    private int ReclaimsAfter(long allocated)
    {
        _memory.Sum += allocated;
        _quiet.Look();
        return _memory.Reclaims;
    }

    /// <summary>Memory of which the test says what is allocated, and what of it lives.</summary>
    private sealed class Memory() : MemoryUse(Options.Create(new LimitOptions()))
    {
        public long Sum { get; set; }

        public long Living { get; set; } = 10 * Mebibyte;

        public int Reclaims { get; private set; }

        public override long Allocated => Sum;

        public override long Live => Living;

        public override void Reclaim() => Reclaims++;
    }
}
