using System.Collections.Concurrent;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tunnels;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Cluster;

/// <summary>
/// Keeps <c>route:{uuid}</c> in Redis as this node's tunnels are. What changed is noted at once and written in batches; a
/// write says how the tunnel is now, so that none can come too late, and what could not be written is tried again. When
/// Redis has been away, or has come back empty, everything is written anew.
/// </summary>
internal sealed partial class RouteWriter(
    TunnelRegistry tunnels, Nodes nodes, DeviceDirectory devices, DeviceActivity activity, DeviceStore store, NodeIdentity self, RedisConnection redis, StoreMark mark, TimeProvider time,
    ILogger<RouteWriter> logger)
    : BackgroundService
{
    /// <summary>The most tunnels that are under way to Redis at once.</summary>
    private const int BatchSize = 256;

    private static readonly TimeSpan Respite = TimeSpan.FromMilliseconds(500);

    /// <summary>After a node has died, what it wrote for lists is of no use and runs out.</summary>
    private static readonly TimeSpan OnlineKeptFor = TimeSpan.FromHours(1);

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    // Tunnels whose state is not written, each with the number of its last change.
    private readonly ConcurrentDictionary<DeviceTunnel, long> _dirty = new();
    private readonly SemaphoreSlim _wake = new(0);
    private readonly Lock _idleLock = new();
    private TaskCompletionSource? _idle;
    private long _changes;

    /// <summary>A set of the devices that have a tunnel on a node since this start of it, for lists: <c>online:&lt;node id&gt;:&lt;epoch&gt;</c>.</summary>
    public static RedisKey OnlineOf(string node, string epoch) => $"online:{node}:{epoch}";

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        tunnels.Changed += OnChanged;
        nodes.Forgotten += RewriteAll;
        mark.WhenEmptied(() =>
        {
            RewriteAll();
            return WhenWrittenAsync().WaitAsync(Patience, time);
        });
        return base.StartAsync(cancellationToken);
    }

    /// <summary>Completes when all that has changed until now is written.</summary>
    public Task WhenWrittenAsync()
    {
        lock (_idleLock)
        {
            return _dirty.IsEmpty ? Task.CompletedTask : (_idle ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            multiplexer.ConnectionRestored += (_, restored) =>
            {
                if (restored.ConnectionType == ConnectionType.Interactive)
                {
                    RewriteAll();
                }
            };

            RewriteAll();
            while (true)
            {
                var isKeptLong = await _wake.WaitAsync(OnlineKeptFor / 4, stoppingToken);
                while (!_dirty.IsEmpty)
                {
                    isKeptLong = false;
                    if (!await TryWriteAsync([.. _dirty.Take(BatchSize)]))
                    {
                        await Task.Delay(Respite, time, stoppingToken);
                    }
                }

                lock (_idleLock)
                {
                    if (_dirty.IsEmpty)
                    {
                        _idle?.TrySetResult();
                        _idle = null;
                    }
                }

                if (!isKeptLong)
                {
                    await TryKeepAsync();
                }
            }
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

    private void OnChanged(DeviceTunnel tunnel)
    {
        var isUp = tunnels.Contains(tunnel);
        devices.Signal(tunnel.Uuid, wasReachable: !isUp);
        if (isUp)
        {
            activity.Connected(tunnel.Uuid, tunnel.Agent);
        }
        else
        {
            activity.Disconnected(tunnel.Uuid, new PastTunnel(self.Id, tunnel.Since, time.GetUtcNow(), tunnel.Address?.ToString(), tunnel.Agent));
        }

        _dirty[tunnel] = Interlocked.Increment(ref _changes);
        _wake.Release();
    }

    private void RewriteAll()
    {
        foreach (var tunnel in tunnels.All)
        {
            _dirty[tunnel] = Interlocked.Increment(ref _changes);
        }

        _wake.Release();
    }

    private async Task<bool> TryWriteAsync(KeyValuePair<DeviceTunnel, long>[] batch)
    {
        var all = await Task.WhenAll(batch.Select(TryWriteAsync));
        return Array.TrueForAll(all, static written => written);
    }

    // Said after each write, and in good time without one; a Redis that is away is written to anew when it is back.
    private async Task TryKeepAsync()
    {
        try
        {
            await redis.Database.KeyExpireAsync(OnlineOf(self.Id, self.Epoch), OnlineKeptFor);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
        {
            // Next time.
        }
    }

    private async Task<bool> TryWriteAsync(KeyValuePair<DeviceTunnel, long> change)
    {
        try
        {
            await WriteAsync(change.Key);
            _dirty.TryRemove(change); // unless it has changed meanwhile
            return true;
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
        {
            if (!RedisConnection.IsUnavailable(exception))
            {
                LogFailed(logger, change.Key.Uuid, exception);
            }

            return false;
        }
    }

    // The set is changed first: the route's change is announced, and who hears of it looks at both.
    private async Task WriteAsync(DeviceTunnel tunnel)
    {
        if (tunnels.Contains(tunnel))
        {
            await Task.WhenAll(
                redis.Database.SetAddAsync(OnlineOf(self.Id, self.Epoch), tunnel.Uuid.ToString()),
                store.AddRouteAsync(tunnel.Uuid, RouteOf(tunnel), devices.KnownRoutes(tunnel.Uuid).Where(IsDead)));
        }
        else
        {
            await Task.WhenAll(
                tunnels.Find(tunnel.Uuid) is null ? RemoveOnlineAsync(tunnel.Uuid) : Task.CompletedTask,
                store.RemoveRouteAsync(tunnel.Uuid, tunnel.ConnectionId, self.Id));
        }
    }

    private async Task RemoveOnlineAsync(DeviceUuid uuid)
    {
        var database = redis.Database;
        await database.SetRemoveAsync(OnlineOf(self.Id, self.Epoch), uuid.ToString());

        // A tunnel that came meanwhile is dirty, and its own writing comes after this one or says the same.
        if (tunnels.Find(uuid) is not null)
        {
            await database.SetAddAsync(OnlineOf(self.Id, self.Epoch), uuid.ToString());
        }
    }

    private DeviceRoute RouteOf(DeviceTunnel tunnel) =>
        new(self.Id, self.Epoch, tunnel.Since, tunnel.Agent, tunnel.Address?.ToString() ?? "") { ConnectionId = tunnel.ConnectionId };

    private bool IsDead(DeviceRoute route) => (route.Node != self.Id || route.Epoch != self.Epoch) && nodes.Find(route) is null;

    [LoggerMessage(Level = LogLevel.Error, Message = "The route of {Uuid} could not be written; trying again")]
    private static partial void LogFailed(ILogger logger, DeviceUuid uuid, Exception exception);
}
