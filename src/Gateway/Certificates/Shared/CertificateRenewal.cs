using Gateway.Certificates.Acme;
using Gateway.Certificates.OnDemand;
using Gateway.Listeners;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Certificates.Shared;

/// <summary>
/// Looks for work on every node; the lease of a name decides who does it. It never ends: whatever goes wrong, it looks
/// again after <see cref="AcmeOptions.PollInterval"/>.
/// </summary>
internal sealed partial class CertificateRenewal(
    RedisConnection redis, CertificateStore store, CertificateIssuance issuance, ManagedNames managed, OnDemandNames onDemand, IOptions<CertificateOptions> options,
    CertificateMetrics metrics, IOptions<ListenerOptions> listen, TimeProvider time, ILogger<CertificateRenewal> logger) : BackgroundService
{
    private const int AtOnce = 4;
    private const int DueAtOnce = 100;

    private readonly AcmeOptions _acme = options.Value.Acme;

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (!options.Value.UsesAcme || listen.Value.Https.Length == 0)
        {
            return Task.CompletedTask;
        }

        metrics.Expect(_acme.EffectiveDirectories);
        return base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            await redis.FirstConnected.WaitAsync(stoppingToken);
            using var timer = new PeriodicTimer(_acme.PollInterval, time);
            do
            {
                await WorkAsync(stoppingToken);
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
        catch (StoreUnavailableException)
        {
            // There will be no store: the connection has said so and ends the gateway.
        }
    }

    private async Task WorkAsync(CancellationToken cancellationToken)
    {
        try
        {
            await Parallel.ForEachAsync(
                await FindWorkAsync(), new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken }, (name, token) => RenewAsync(name, token));
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            // What is served goes on being served; the connection has said that Redis is away.
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            LogBroken(logger, exception);
        }
    }

    private async Task<List<string>> FindWorkAsync()
    {
        var now = time.GetUtcNow();
        var due = new List<string>(await store.ListDueAsync(now, DueAtOnce));
        foreach (var name in managed.Names.Except(due, StringComparer.Ordinal))
        {
            if (await store.FindScheduleAsync(name) is null || await IsMisplannedAsync(name, now) || await IsUnusableAsync(name))
            {
                due.Add(name);
            }
        }

        return due;
    }

    // A pause that began in the future: a clock was set back.
    private async Task<bool> IsMisplannedAsync(string name, DateTimeOffset now) => await store.FindFailureAsync(name) is { } failure && now < failure.At;

    // Missing, damaged, or without a name that was added to the configuration.
    private async Task<bool> IsUnusableAsync(string name)
    {
        try
        {
            if (await store.FindAsync(name) is { } stored && CertificateIssuance.IsFor(stored, managed.NamesOf(name)))
            {
                return false;
            }
        }
        catch (UnusableCertificateException)
        {
            // Who serves it has said so.
        }

        // Unless it was tried: then the pause counts.
        return await store.FindFailureAsync(name) is null;
    }

    private async ValueTask RenewAsync(string name, CancellationToken cancellationToken)
    {
        try
        {
            if (managed.Contains(name))
            {
                await issuance.TryRenewAsync(name, managed.NamesOf(name), _acme.Challenge, cancellationToken);
            }
            else if (await onDemand.IsEntitledAsync(name))
            {
                await issuance.TryRenewAsync(name, [name], OnDemandNames.ChallengeOf(_acme), cancellationToken);
            }
            else
            {
                // The device or its domain is gone: its certificate may end.
                await store.UnscheduleAsync(name);
                LogForgotten(logger, name);
            }
        }
        catch (Exception exception) when (exception is RedisException or StoreUnavailableException or TimeoutException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            // Redis went away, or the lease with it: another look, by whoever can.
            LogInterrupted(logger, name, exception.Message);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            LogBroken(logger, exception);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The certificate of {Name} is not renewed: nobody is entitled to it any more")]
    private static partial void LogForgotten(ILogger logger, string name);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The order for {Name} was interrupted and is taken up again: {Reason}")]
    private static partial void LogInterrupted(ILogger logger, string name, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Certificates could not be looked after; it is tried again")]
    private static partial void LogBroken(ILogger logger, Exception exception);
}
