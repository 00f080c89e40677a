using Gateway.Tests.Harness;
using Tunnel.Protocol.DeviceSide;

namespace Gateway.Tests.Units;

/// <summary>How a tunnel ends on the device's side.</summary>
public sealed class DeviceTunnelStreamTests
{
    [Fact]
    public async Task A_connection_that_is_aborted_while_its_end_is_read_is_disposed_of_once_and_not_by_two_at_a_time()
    {
        using var inner = new BrokenStream();
        await using var stream = new DeviceTunnelStream(inner);

        var reading = Task.Run(async () => await stream.ReadAsync(new byte[1]));
        await inner.WhenDisposing.WaitAsync(Eventually.Patience);
        await stream.DisposeAsync(); // returns though the other has not
        inner.GoOn.SetResult();

        Assert.Equal(0, await reading);
        Assert.Equal(1, inner.Disposals);
        Assert.Equal(0, await stream.ReadAsync(new byte[1]));
    }

    /// <summary>Fails at its first read, and is disposed of only when the test lets it.</summary>
    private sealed class BrokenStream : MemoryStream
    {
        private readonly TaskCompletionSource _disposing = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _disposals;

        public Task WhenDisposing => _disposing.Task;

        public TaskCompletionSource GoOn { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public int Disposals => Volatile.Read(ref _disposals);

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            ValueTask.FromException<int>(new IOException("The line is cut."));

        protected override void Dispose(bool disposing)
        {
            if (Interlocked.Increment(ref _disposals) == 1)
            {
                _disposing.SetResult();
                Assert.True(GoOn.Task.Wait(Eventually.Patience));
            }

            base.Dispose(disposing);
        }
    }
}
