using System.Diagnostics;
using System.Globalization;
using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>How long an answer takes tells no more than the answer does.</summary>
[Collection(nameof(Alone))]
public sealed class TimeTests
{
    private const int Tries = 2000;

    [Fact]
    public async Task An_unknown_device_and_a_disabled_one_take_the_same_time()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1", "Heavy.");
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Timeout"] = "00:00:10", ["Devices:CacheTtl"] = "00:00:00.010" });
        var disabled = await gateway.AddDeviceAsync(publicUrl: false);
        var unknown = new TestDevice(Tunnel.Protocol.DeviceUuid.New(), "");
        await using var visitor = await RawConnection.OpenAsync(gateway.HttpPort);
        async Task<double> AskAsync(TestDevice device)
        {
            var started = Stopwatch.GetTimestamp();
            await visitor.SendAsync($"HEAD / HTTP/1.1\r\nHost: {device.Host}\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 404 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
            return Stopwatch.GetElapsedTime(started).TotalMilliseconds;
        }

        // One after the other, so that the machine's moods meet both. Records are read anew again and again, or both come from memory.
        var (unknowns, disableds) = (new List<double>(), new List<double>());
        for (var i = -200; i < Tries; i++)
        {
            var (one, other) = (await AskAsync(unknown), await AskAsync(disabled));
            if (i >= 0)
            {
                unknowns.Add(one);
                disableds.Add(other);
            }
        }

        unknowns.Sort();
        disableds.Sort();
        var difference = Math.Abs(unknowns[Tries / 2] - disableds[Tries / 2]);
        var spread = unknowns[Tries * 3 / 4] - unknowns[Tries / 4];
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"medians of {Tries}: unknown {unknowns[Tries / 2]:0.000} ms, disabled {disableds[Tries / 2]:0.000} ms; difference {difference:0.000} ms, spread of the middle half {spread:0.000} ms"));
        Assert.True(difference < 0.5 || difference < spread);
    }
}
