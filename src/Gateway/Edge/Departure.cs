using Gateway.Cluster;
using Gateway.Listeners;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>
/// How this node goes without anybody's noticing, after SIGTERM and before the listeners close:
/// <list type="number">
/// <item>It is not ready any more, and takes no new tunnel.</item>
/// <item>Each device is asked to dial another node first, and then to let its tunnel here go; spread over a third of the time.</item>
/// <item>WebSockets get a proper close; other requests in flight finish.</item>
/// <item>What is left at the end of the time is cut, and Redis is told.</item>
/// </list>
/// A node that is alone has nowhere to send its devices: it begins with the third step. <c>gateway node drain</c> asks for the
/// first three of a node that goes on running.
/// </summary>
internal sealed partial class Departure(
    Nodes nodes, RouteWriter routes, TunnelRegistry tunnels, ActiveVisits visits, IOptions<ListenerOptions> options, TimeProvider time, ILogger<Departure> logger) : IHostedLifecycleService
{
    /// <summary>The longest wait for one device's answer.</summary>
    private static readonly TimeSpan AnswerTimeout = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan WriteTimeout = TimeSpan.FromSeconds(2);

    private readonly TimeSpan _drainTimeout = options.Value.DrainTimeout;
    private int _draining;

    public Task StartingAsync(CancellationToken cancellationToken)
    {
        nodes.DrainRequested += OnDrainRequested;
        return Task.CompletedTask;
    }

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        TimeSpan Left() => _drainTimeout - time.GetElapsedTime(started) is var left && left > TimeSpan.Zero ? left : TimeSpan.Zero;

        var notReady = nodes.HasOther ? Task.Delay(options.Value.DrainDelay < Left() ? options.Value.DrainDelay : Left(), time, cancellationToken) : Task.CompletedTask;
        await DrainAsync(Left(), cancellationToken);
        await notReady.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await visits.WhenIdleAsync().WaitAsync(Left(), time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await tunnels.CloseAsync();
        await routes.WhenWrittenAsync().WaitAsync(WriteTimeout, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await nodes.LeaveAsync();
    }

    private void OnDrainRequested(bool drain) => _ = drain ? DrainAsync(_drainTimeout, CancellationToken.None) : ResumeAsync();

    private async Task DrainAsync(TimeSpan limit, CancellationToken cancellationToken)
    {
        if (Interlocked.Exchange(ref _draining, 1) == 1)
        {
            return;
        }

        var elsewhere = nodes.HasOther;
        LogDraining(logger, tunnels.Devices, visits.Count, elsewhere ? "the devices are sent to other nodes" : "there is no other node");
        await nodes.SetDrainingAsync(true);
        if (elsewhere)
        {
            await SendAwayAsync(limit / 3, cancellationToken);
        }

        visits.SayGoodbye();
        LogDrained(logger, tunnels.Devices, visits.Count);
    }

    private async Task ResumeAsync()
    {
        if (Interlocked.Exchange(ref _draining, 0) == 1)
        {
            visits.Welcome();
            await nodes.SetDrainingAsync(false);
            LogResumed(logger);
        }
    }

    // One after the other at even distances, so that the other nodes get no storm; then for a while longer those that are slow.
    private async Task SendAwayAsync(TimeSpan window, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        var leaving = tunnels.All.ToList();
        var asked = new List<Task>();
        for (var i = 0; i < leaving.Count; i++)
        {
            var due = window / 2 * i / leaving.Count;
            if (due - time.GetElapsedTime(started) is var early && early > TimeSpan.FromMilliseconds(10))
            {
                await Task.Delay(early, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }

            asked.Add(AskAsync(leaving[i], cancellationToken));
        }

        var left = window - time.GetElapsedTime(started);
        await Task.WhenAll(asked).WaitAsync(left > TimeSpan.Zero ? left : TimeSpan.Zero, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    // Done when the tunnel is, or when the device does not know how.
    private static async Task AskAsync(DeviceTunnel tunnel, CancellationToken cancellationToken)
    {
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(AnswerTimeout);
        if (await tunnel.Client.TryDrainAsync(timeout.Token))
        {
            await tunnel.Client.Closed;
        }
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(Level = LogLevel.Information, Message = "Draining {Devices} devices and {Requests} requests in flight: {Where}")]
    private static partial void LogDraining(ILogger logger, int devices, int requests, string where);

    [LoggerMessage(Level = LogLevel.Information, Message = "Drained: {Devices} devices and {Requests} requests are left")]
    private static partial void LogDrained(ILogger logger, int devices, int requests);

    [LoggerMessage(Level = LogLevel.Information, Message = "Takes devices again")]
    private static partial void LogResumed(ILogger logger);
}
