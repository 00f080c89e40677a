using Gateway.Limits;
using Gateway.Listeners.Http2;
using Gateway.Tests.Attackers;
using Gateway.Tests.Harness;
using Microsoft.Extensions.Time.Testing;

namespace Gateway.Tests.Budgets;

/// <summary>What is a flood of frames on a visitor's connection, and what is not.</summary>
public sealed class FrameBudgetTests
{
    private const int PerSecond = 100;
    private static readonly byte[] Head = Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, [0x82]);
    private static readonly byte[] Data = Http2Writer.Frame(Frame.Data, 0, 1, new byte[100]);
    private static readonly byte[] LastData = Http2Writer.Frame(Frame.Data, Frame.EndStream, 1, []);
    private static readonly byte[] Opening = Http2Writer.Frame(Frame.WindowUpdate, 0, 0, []);

    // Heads alone: one that is refused is the last that is read.
    public static TheoryData<string, byte[], int> Floods => new()
    {
        { "PING", Http2Writer.Frame(Frame.Ping, 0, 0, []), 1 },
        { "answers to PING that nobody sent", Http2Writer.Frame(Frame.Ping, Frame.Acknowledged, 0, []), 1 },
        { "SETTINGS", Http2Writer.Frame(Frame.Settings, 0, 0, []), 1 },
        { "PRIORITY", Http2Writer.Frame(Frame.Priority, 0, 1, []), 1 },
        { "resets", Http2Writer.Frame(Frame.ResetStream, 0, 1, []), 1 },
        { "empty DATA", Http2Writer.Frame(Frame.Data, 0, 1, []), 1 },
        { "empty CONTINUATION", Http2Writer.Frame(Frame.Continuation, 0, 1, []), 1 },
        { "GOAWAY", Http2Writer.Frame(Frame.GoAway, 0, 0, []), 1 },
        { "unknown frames", Http2Writer.Frame(0xfa, 0, 0, []), 1 },
        { "openings of windows", Opening, FrameBudget.WindowUpdatesPerIdleFrame },
    };

    [Theory]
    [MemberData(nameof(Floods))]
    public void A_flood_of_frames_on_a_visitors_connection_is_found_and_what_comes_in_time_is_none(string what, byte[] frame, int factor)
    {
        var time = new FakeTimeProvider();
        var frames = New(time);
        int Take() => Enumerable.Range(0, 1_000_000).TakeWhile(_ => frames.Receive(frame)).Count();

        // Ten seconds' worth at once, and then what a second brings.
        Assert.True(frames.Receive(Http2Writer.Preface));
        Assert.Equal(10 * PerSecond * factor, Take());
        time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(PerSecond * factor, Take());
        time.Advance(TimeSpan.FromHours(1));
        Assert.True(frames.Receive(frame), what);
    }

    [Fact]
    public void A_visitor_who_is_busy_floods_nobody()
    {
        var frames = New(new FakeTimeProvider());
        Assert.True(frames.Receive(Http2Writer.Preface));
        for (var i = 0; i < 10 * PerSecond * FrameBudget.WindowUpdatesPerIdleFrame; i++)
        {
            Assert.True(frames.Receive(Head) && frames.Receive(Data) && frames.Receive(LastData) && frames.Receive(Opening));
        }
    }

    [Fact]
    public void Watching_a_visitors_frames_allocates_nothing()
    {
        var frames = New(TimeProvider.System);
        Assert.True(frames.Receive(Http2Writer.Preface) && frames.Receive(Head) && frames.Receive(Opening));

        var before = GC.GetAllocatedBytesForCurrentThread();
        var allowed = true;
        for (var i = 0; i < 1000; i++)
        {
            allowed &= frames.Receive(Head) && frames.Receive(Data) && frames.Receive(Opening);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.True(allowed);
    }

    private static FrameBudget New(TimeProvider time)
    {
        static PaceLimit Limit(int perSecond, TimeProvider time) => PaceLimit.Of(perSecond, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10), time);
        return new FrameBudget(Limit(PerSecond, time), Limit(PerSecond * FrameBudget.WindowUpdatesPerIdleFrame, time), time);
    }
}
