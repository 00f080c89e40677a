using Gateway.Devices;

namespace Gateway.Tunnels;

/// <summary>Counts the bytes that cross each device's tunnels, every few seconds.</summary>
internal sealed class DeviceTraffic(TunnelRegistry registry, DeviceActivity activity, TimeProvider time) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(2);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                foreach (var tunnel in registry.All)
                {
                    Count(tunnel, activity);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    /// <summary>Counts what has crossed since the last time.</summary>
    public static void Count(DeviceTunnel tunnel, DeviceActivity activity)
    {
        var (sent, received) = tunnel.Client.TakeTraffic();
        if (sent + received > 0)
        {
            activity.Crossed(tunnel.Uuid, sent, received);
        }
    }
}
