using System.Globalization;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>What a tunnel costs a device that pays for bytes and does nothing.</summary>
public sealed class IdleTunnelTests(ITestOutputHelper output)
{
    private const int Mega = 1024 * 1024;

    private static readonly TimeSpan Measured = TimeSpan.FromMinutes(int.TryParse(Environment.GetEnvironmentVariable("GATEWAY_TEST_IDLE_MINUTES"), CultureInfo.InvariantCulture, out var minutes) ? minutes : 5);

    [Fact]
    public async Task An_idle_tunnel_costs_less_than_a_megabyte_a_day()
    {
        // Nothing but the tunnel is in this network; the store is in the gateway's process, behind a Unix socket.
        await using var network = await NetworkNamespace.CreateAsync();
        await using var gateway = await GatewayProcess.StartAsync(network);
        var device = await gateway.AddDeviceAsync();
        await using var agent = gateway.StartAgent(device, environment: new() { ["GATEWAY_CONNECTIONS"] = "1" });
        await agent.WaitForOutputAsync("Tunnel up");

        // The application is not there: the agent's answer has crossed the tunnel all the same.
        foreach (var (state, visit) in new[] { ("never visited", false), ("visited before", true) })
        {
            if (visit)
            {
                var (_, page) = await network.RunAsync("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", $"Host: {device.Uuid}.localhost", $"http://127.0.0.1:{gateway.Port}/");
                Assert.Contains("502", page, StringComparison.Ordinal);
            }

            await Task.Delay(TimeSpan.FromSeconds(30)); // what the visit left behind
            var (bytes, packets) = await CountAsync(network);
            await Task.Delay(Measured);
            var (bytesNow, packetsNow) = await CountAsync(network);
            var hours = Measured.TotalHours;
            var anHour = (bytesNow - bytes) / hours; // loopback counts from the IP head on
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"a tunnel that was {state}: {anHour:N0} bytes an hour (IP, both ways), {(packetsNow - packets) / hours:N0} packets an hour, {anHour * 24 / Mega:0.00} MB a day; measured for {Measured.TotalMinutes:0} min"));
            Assert.InRange(anHour * 24, 1, Mega);
        }
    }

    private static async Task<(long Bytes, long Packets)> CountAsync(NetworkNamespace network)
    {
        var (_, text) = await network.RunAsync("cat", "/sys/class/net/lo/statistics/rx_bytes", "/sys/class/net/lo/statistics/rx_packets");
        var lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return (long.Parse(lines[0], CultureInfo.InvariantCulture), long.Parse(lines[1], CultureInfo.InvariantCulture));
    }
}
