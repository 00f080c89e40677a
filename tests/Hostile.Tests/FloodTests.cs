using Gateway.Tests.Attackers;
using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>
/// Each hostile visitor, and each hostile device, for a while, beside an honest visitor of another device. The heavy run takes 20 s for
/// each; <c>--show</c> prints the rows of the table in docs/hostile.md.
/// </summary>
[Collection(nameof(Alone))]
public sealed class FloodTests(Battlefield field) : IClassFixture<Battlefield>
{
    private const long MaxGrowth = 150 * 1024 * 1024;

    public static TheoryData<string> Visitors => [.. HostileVisitor.Behaviours.Keys];

    public static TheoryData<string> Agents => [.. HostileAgent.Behaviours.Keys];

    [Theory]
    [MemberData(nameof(Visitors))]
    public async Task A_hostile_visitor_harms_nobody_elses_visitors_and_does_not_fill_memory(string behaviour)
    {
        // From an address of its own: what one has used up is not missing to the next.
        var visitor = new HostileVisitor($"127.0.66.{1 + HostileVisitor.Behaviours.Keys.ToList().IndexOf(behaviour)}", field.Gateway.Port, field.HttpsPort, $"{field.Victim.Uuid}.localhost");

        var report = await field.WatchAsync(behaviour, HostileVisitor.Floods.Contains(behaviour), time => HostileVisitor.Behaviours[behaviour](visitor, time));

        Judge(report);
        Assert.True(report.Attacker.IsStopped || !HostileVisitor.Floods.Contains(behaviour), $"{behaviour}: never cut off.");
    }

    [Theory]
    [MemberData(nameof(Agents))]
    public async Task A_hostile_device_harms_nobody_elses_visitors_and_does_not_fill_memory(string behaviour)
    {
        var device = (await field.Gateway.AddDevicesAsync(1))[0];
        var agent = new HostileAgent(field.Gateway.Port, device);
        using var stop = new CancellationTokenSource();
        var visiting = VisitAsync(device, stop.Token);

        var report = await field.WatchAsync(behaviour, HostileAgent.Floods.Contains(behaviour), time => HostileAgent.Behaviours[behaviour](agent, time));

        await stop.CancelAsync();
        await visiting;
        Judge(report);
        Assert.True(report.Attacker.IsStopped || !HostileAgent.Floods.Contains(behaviour), $"{behaviour}: its tunnel was never ended.");
    }

    private static void Judge(Report report)
    {
        TestContext.Current.TestOutputHelper?.WriteLine($"{report}");
        Assert.Equal([], report.Failures);
        Assert.InRange(report.Growth, long.MinValue, MaxGrowth);
    }

    // Visitors of the hostile device: they wake it up, and get whatever they get.
    private async Task VisitAsync(TestDevice device, CancellationToken stop)
    {
        using var visitor = field.Gateway.CreateVisitor();
        while (!stop.IsCancellationRequested)
        {
            try
            {
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(stop);
                patience.CancelAfter(TimeSpan.FromSeconds(5));
                using var response = await visitor.GetAsync(field.Gateway.Url(device), HttpCompletionOption.ResponseHeadersRead, patience.Token);
                await response.Content.CopyToAsync(Stream.Null, patience.Token);
            }
            catch (Exception exception) when (exception is HttpRequestException or OperationCanceledException or IOException)
            {
                // As the device likes it.
            }

            await Task.Delay(10, CancellationToken.None);
        }
    }
}
