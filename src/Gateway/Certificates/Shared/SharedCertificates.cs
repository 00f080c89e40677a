using System.Security.Cryptography;
using Gateway.Listeners;
using Gateway.Listeners.Tls;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Certificates.Shared;

/// <summary>
/// Serves what stands in the store: the managed names from the start, others once somebody asked for them. A change is
/// taken when it is announced, or found within <see cref="Acme.AcmeOptions.PollInterval"/>. While Redis is away, or what stands there
/// is unusable, the last good certificate stays.
/// </summary>
internal sealed partial class SharedCertificates(
    RedisConnection redis, CertificateStore store, ManagedNames managed, ServedCertificates served, TlsProfile profile, IOptions<CertificateOptions> options,
    IOptions<ListenerOptions> listen, TimeProvider time, ILogger<SharedCertificates> logger) : BackgroundService
{
    // A certificate at first use costs memory; after so long without a handshake it is read again when the next one comes.
    private static readonly TimeSpan MaxIdle = TimeSpan.FromHours(6);

    // Every so many looks go to all certificates, and not only to the managed ones.
    private const int FullPoll = 12;

    private readonly Dictionary<string, string> _complaints = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _loading = new(1);
    private int _polls;

    public override void Dispose()
    {
        _loading.Dispose();
        base.Dispose();
    }

    public override Task StartAsync(CancellationToken cancellationToken) =>
        options.Value.UsesAcme && listen.Value.Https.Length > 0 ? base.StartAsync(cancellationToken) : Task.CompletedTask;

    /// <summary>Serves what stands in the store under a name now.</summary>
    /// <returns>What is served now; null when there is nothing.</returns>
    public async Task<ServedCertificate?> LoadAsync(string name)
    {
        await _loading.WaitAsync();
        try
        {
            if (await store.FindAsync(name) is not { } stored)
            {
                if (!managed.Contains(name))
                {
                    served.Remove(name);
                }

                return served.Get(name);
            }

            if (served.Get(name) is { } current && current.Version == stored.Version)
            {
                return current;
            }

            var certificate = ServedCertificate.FromPem(stored.Chain, stored.Key, profile);
            served.Put(name, certificate, isDefault: managed.IsDefault(name));
            _complaints.Remove(name);
            LogServing(logger, certificate.Title, certificate.Certificate.End, stored.Directory);
            return certificate;
        }
        catch (Exception exception) when (exception is UnusableCertificateException or CryptographicException)
        {
            if (!_complaints.TryGetValue(name, out var said) || said != exception.Message)
            {
                _complaints[name] = exception.Message;
                LogUnusable(logger, name, exception.Message);
            }

            return served.Get(name);
        }
        finally
        {
            _loading.Release();
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            using var timer = new PeriodicTimer(options.Value.Acme.PollInterval, time);
            var isSubscribed = false;
            do
            {
                isSubscribed = isSubscribed || await multiplexer.TrySubscribeAsync(CertificateStore.Changes, message => _ = TryLoadAsync((string)message!));
                await PollAsync();
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

    private async Task PollAsync()
    {
        foreach (var (key, certificate) in served.List())
        {
            if (IsShared(key) && !managed.Contains(key) && certificate.Idle > MaxIdle)
            {
                served.Remove(key);
            }
        }

        // Those at first use may be many: what was announced in vain is found a little later.
        var isFull = _polls++ % FullPoll == 0;
        var names = isFull ? managed.Names.Concat(served.List().Select(static known => known.Key)).Distinct(StringComparer.Ordinal).Where(IsShared) : managed.Names;
        foreach (var name in names)
        {
            try
            {
                if (await store.FindVersionAsync(name) is not { } version || served.Get(name)?.Version != version)
                {
                    await LoadAsync(name);
                }
            }
            catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
            {
                return;
            }
        }
    }

    // The files of the other source stand under their paths.
    private static bool IsShared(string key) => !key.Contains(Path.DirectorySeparatorChar, StringComparison.Ordinal);

    private async Task TryLoadAsync(string name)
    {
        if (!managed.Contains(name) && served.Get(name) is null)
        {
            return;
        }

        try
        {
            await LoadAsync(name);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
        {
            // The poll finds it.
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Serving the certificate for {Names}, good until {NotAfter:u}, issued by {Directory}")]
    private static partial void LogServing(ILogger logger, string names, DateTimeOffset notAfter, string directory);

    [LoggerMessage(Level = LogLevel.Error, Message = "The certificate of {Name} in the store cannot be used, the one before it stays and it is ordered anew: {Reason}")]
    private static partial void LogUnusable(ILogger logger, string name, string reason);
}
