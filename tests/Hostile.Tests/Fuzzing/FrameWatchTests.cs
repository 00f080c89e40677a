using Gateway.Tests.Attackers;
using Gateway.Tests.Harness;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tests.Fuzzing;

/// <summary>What is a flood of frames, and what is not.</summary>
public sealed class FrameWatchTests
{
    private static readonly byte[] Ping = Http2Writer.Frame(Frame.Ping, 0, 0, new byte[8]);
    private static readonly byte[] PingAnswer = Http2Writer.Frame(Frame.Ping, Frame.Acknowledged, 0, new byte[8]);
    private static readonly byte[] Head = Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, [0x88]);
    private static readonly byte[] Data = Http2Writer.Frame(Frame.Data, 0, 1, new byte[100]);

    public static TheoryData<string, byte[], int> Floods => new()
    {
        { "PING whose answers are not taken", Ping, FrameWatch.MaxUnread },
        { "SETTINGS whose answers are not taken", Http2Writer.Frame(Frame.Settings, 0, 0, []), FrameWatch.MaxUnread },
        { "empty DATA", Http2Writer.Frame(Frame.Data, 0, 1, []), FrameWatch.MaxIdle },
        { "empty CONTINUATION", Http2Writer.Frame(Frame.Continuation, 0, 1, []), FrameWatch.MaxIdle },
        { "PRIORITY", Http2Writer.Frame(Frame.Priority, 0, 1, new byte[5]), FrameWatch.MaxIdle },
        { "unknown frames", Http2Writer.Frame(0xfa, 0, 0, []), FrameWatch.MaxIdle },
        { "answers that nobody asked for", PingAnswer, FrameWatch.MaxIdle },
        { "heads that nobody asked for", Head, FrameWatch.MaxHeads },
        { "resets", Http2Writer.Frame(Frame.ResetStream, 0, 1, new byte[4]), FrameWatch.MaxHeads },
        { "openings of windows", Http2Writer.Frame(Frame.WindowUpdate, 0, 0, new byte[4]), FrameWatch.MaxWindowUpdates },
    };

    [Theory]
    [MemberData(nameof(Floods))]
    public void A_flood_of_frames_is_found_and_what_devices_do_is_none(string what, byte[] frame, int limit)
    {
        // A busy machine may need longer than the time that is counted over; then it begins anew.
        var watch = new FrameWatch();
        var count = 0;
        while (count <= limit * 10 && watch.Receive(frame))
        {
            count++;
        }

        Assert.True(count >= limit && count <= limit * 10, $"{what}: found after {count}, the limit is {limit}.");
    }

    [Fact]
    public void A_device_that_is_busy_or_lives_long_floods_nobody()
    {
        var watch = new FrameWatch();
        watch.Send(Http2Writer.Preface);
        for (var i = 0; i < 50_000; i++)
        {
            // Early hints, a head, content, trailers.
            watch.Send(Head);
            Assert.True(watch.Receive(Head) && watch.Receive(Head) && watch.Receive(Data) && watch.Receive(Head));
        }

        for (var i = 0; i < FrameWatch.MaxIdle / 2; i++)
        {
            Assert.True(watch.Receive(Ping));
            watch.Send(PingAnswer);
        }
    }

    [Fact]
    public void Watching_allocates_nothing()
    {
        var watch = new FrameWatch();
        Assert.True(watch.Receive(Data));
        watch.Send(Http2Writer.Preface);
        watch.Send(Head);

        var before = GC.GetAllocatedBytesForCurrentThread();
        var allowed = true;
        for (var i = 0; i < 1000; i++)
        {
            watch.Send(Head);
            allowed &= watch.Receive(Head) && watch.Receive(Data);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.True(allowed);
    }
}
