using System.Globalization;
using Microsoft.Extensions.Hosting.Systemd;

namespace Shared;

/// <summary>
/// Tells systemd (sd_notify(3)) that the service is ready, that it stops, and, if the unit has a WatchdogSec, that it lives.
/// Elsewhere it does nothing.
/// </summary>
internal sealed class ServiceManager(IHostApplicationLifetime lifetime, TimeProvider time) : BackgroundService
{
    private static readonly ServiceState Alive = new("WATCHDOG=1");

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var systemd = new SystemdNotifier();
        if (!systemd.IsEnabled)
        {
            return;
        }

        var ready = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var started = lifetime.ApplicationStarted.Register(() =>
        {
            systemd.Notify(ServiceState.Ready);
            ready.SetResult();
        });
        using var stopping = lifetime.ApplicationStopping.Register(() => systemd.Notify(ServiceState.Stopping));
        try
        {
            // Who is not ready has nothing to be watched for.
            await ready.Task.WaitAsync(stoppingToken);

            // Half of the time within which systemd expects to hear something (sd_watchdog_enabled(3)).
            if (long.TryParse(Environment.GetEnvironmentVariable("WATCHDOG_USEC"), CultureInfo.InvariantCulture, out var microseconds) && microseconds > 0)
            {
                using var timer = new PeriodicTimer(TimeSpan.FromMicroseconds(microseconds / 2), time);
                while (await timer.WaitForNextTickAsync(stoppingToken))
                {
                    systemd.Notify(Alive);
                }
            }

            await Task.Delay(Timeout.InfiniteTimeSpan, stoppingToken);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The service stops: it has told.
        }
    }
}
