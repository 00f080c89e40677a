using System.Collections.Frozen;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>
/// Whose a domain is, from memory: every node holds all of them, so that neither a visitor nor a stranger's handshake asks
/// Redis. Changes are announced; one that was missed is found within <see cref="DeviceOptions.CacheTtl"/>.
/// </summary>
internal sealed partial class DomainDirectory(
    DomainStore store, RedisConnection redis, StoreMark mark, IOptions<DeviceOptions> options, TimeProvider time, ILogger<DomainDirectory> logger) : BackgroundService
{
    private readonly SemaphoreSlim _reading = new(1);
    private readonly TaskCompletionSource _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile FrozenDictionary<string, DeviceUuid> _domains = FrozenDictionary<string, DeviceUuid>.Empty;
    private string? _version = "never";

    /// <summary>Completes once the domains are known; before that nobody seems to have any.</summary>
    public Task Loaded => _loaded.Task;

    /// <summary>Finds the device of a host, in any case, with or without port and trailing dot.</summary>
    public bool TryGetDevice(string? host, out DeviceUuid device)
    {
        device = default;
        var domains = _domains;
        if (domains.Count == 0 || host is null)
        {
            return false;
        }

        var name = host.AsSpan();
        var port = name.LastIndexOf(':');
        name = (port < 0 ? name : name[..port]).TrimEnd('.');
        return domains.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(name, out device);
    }

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        mark.WhenEmptied(() => store.RestoreAsync(_domains));
        return base.StartAsync(cancellationToken);
    }

    public override void Dispose()
    {
        _reading.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            using var timer = new PeriodicTimer(options.Value.CacheTtl, time);
            var isSubscribed = false;
            do
            {
                isSubscribed = isSubscribed || await multiplexer.TrySubscribeAsync(DomainStore.Changes, changed => _ = TryReadAsync());
                await TryReadAsync();
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

    private async Task TryReadAsync()
    {
        await _reading.WaitAsync();
        try
        {
            // The version first: a change between the two is seen the next time.
            var version = await store.ReadVersionAsync();
            if (version != _version && (_domains.Count == 0 || await mark.IsSameAsync()))
            {
                _domains = (await store.ReadAsync()).ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);
                _version = version;
            }

            _loaded.TrySetResult();
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            // What is known stays good.
        }
        catch (RedisException exception)
        {
            LogUnreadable(logger, exception);
        }
        finally
        {
            _reading.Release();
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The devices' domains could not be read")]
    private static partial void LogUnreadable(ILogger logger, Exception exception);
}
