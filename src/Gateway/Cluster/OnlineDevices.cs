using System.Collections.Concurrent;
using Gateway.Devices;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Cluster;

/// <summary>
/// Who is online, in memory, for lists of many. A node's devices are read whole when somebody asks for the first time; from then
/// on each device that the channel names is asked for again. Without the channel nothing is kept: whoever asks then has all read
/// from Redis. What no word was said about is found by reading everything again every <see cref="DeviceOptions.ReconcileInterval"/>.
/// </summary>
internal sealed partial class OnlineDevices(
    Nodes nodes, RedisConnection redis, IOptions<DeviceOptions> options, TimeProvider time, ILogger<OnlineDevices> logger) : BackgroundService
{
    // By a node's start: a node that is started again begins with none, and one that died is asked for no more.
    private readonly ConcurrentDictionary<(string Id, string Epoch), ConcurrentDictionary<DeviceUuid, byte>> _copies = new();
    private readonly ChangedDevices _changed = new(time);

    // One reads at a time, so that an older answer of Redis never follows a newer one.
    private readonly SemaphoreSlim _reading = new(1);
    private volatile ISubscriber? _subscriber;
    private volatile bool _isAsked;
    private int _breaks;

    /// <summary>Who is online at the nodes that live.</summary>
    /// <exception cref="StoreUnavailableException">Redis has not been reached yet.</exception>
    public async Task<OnlineView> ReadAsync()
    {
        var online = new List<ConcurrentDictionary<DeviceUuid, byte>>();
        foreach (var node in nodes.Live)
        {
            online.Add(_copies.TryGetValue((node.Id, node.Epoch), out var copy) ? copy : await ReadWholeAsync((node.Id, node.Epoch), again: false));
        }

        return new OnlineView(online);
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
            multiplexer.ConnectionFailed += (_, _) => Void();
            multiplexer.ConnectionRestored += (_, _) => Void();
            await redis.SubscribeAsync(
                DeviceStore.RouteChanges,
                message =>
                {
                    if (_isAsked)
                    {
                        _changed.Hear(message);
                    }
                },
                stoppingToken);
            _subscriber = multiplexer.GetSubscriber();
            while (true)
            {
                await _changed.FollowAsync(options.Value.ReconcileInterval, () => TryAsync(TakeChangesAsync), stoppingToken);
                await TryAsync(ReconcileAsync);
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

    private bool HearsChanges => _subscriber?.SubscribedEndpoint(DeviceStore.RouteChanges) is not null;

    // What was said meanwhile is lost: nothing that was known counts.
    private void Void()
    {
        Interlocked.Increment(ref _breaks);
        _copies.Clear();
    }

    private async Task TakeChangesAsync()
    {
        await _reading.WaitAsync();
        try
        {
            var uuids = _changed.Take().ToArray();
            var members = Array.ConvertAll(uuids, static uuid => (RedisValue)uuid.ToString());
            await Task.WhenAll(_copies.Select(copy => TakeAsync(copy.Key, copy.Value)));

            async Task TakeAsync((string Id, string Epoch) node, ConcurrentDictionary<DeviceUuid, byte> copy)
            {
                var online = await redis.Database.SetContainsAsync(RouteWriter.OnlineOf(node.Id, node.Epoch), members);
                for (var i = 0; i < uuids.Length; i++)
                {
                    if (online[i])
                    {
                        copy[uuids[i]] = 0;
                    }
                    else
                    {
                        copy.TryRemove(uuids[i], out _);
                    }
                }
            }
        }
        finally
        {
            _reading.Release();
        }
    }

    private async Task ReconcileAsync()
    {
        foreach (var node in _copies.Keys)
        {
            if (nodes.Live.Any(live => (live.Id, live.Epoch) == node))
            {
                await ReadWholeAsync(node, again: true);
            }
            else
            {
                _copies.TryRemove(node, out _);
            }
        }
    }

    private async Task<ConcurrentDictionary<DeviceUuid, byte>> ReadWholeAsync((string Id, string Epoch) node, bool again)
    {
        await _reading.WaitAsync();
        try
        {
            // Many who ask at once have it read once.
            if (!again && _copies.TryGetValue(node, out var known))
            {
                return known;
            }

            // What is said from here on waits until this is read.
            _isAsked = true;
            var (breaks, isFollowing) = (Volatile.Read(ref _breaks), HearsChanges);
            var copy = new ConcurrentDictionary<DeviceUuid, byte>();
            foreach (var member in await redis.Database.SetMembersAsync(RouteWriter.OnlineOf(node.Id, node.Epoch)))
            {
                if (DeviceUuid.TryParse((string?)member, null, out var uuid))
                {
                    copy[uuid] = 0;
                }
            }

            if (isFollowing)
            {
                _copies[node] = copy;
                if (breaks != Volatile.Read(ref _breaks))
                {
                    _copies.TryRemove(node, out _);
                }
            }

            return copy;
        }
        finally
        {
            _reading.Release();
        }
    }

    private async Task TryAsync(Func<Task> work)
    {
        try
        {
            await work();
        }
        catch (Exception exception) when (exception is RedisException || RedisConnection.IsUnavailable(exception))
        {
            Void();
            LogBroken(logger, exception.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "Who is online is read anew by the next list: {Reason}")]
    private static partial void LogBroken(ILogger logger, string reason);
}

/// <summary>Who is online now; it goes on changing with the devices.</summary>
internal readonly struct OnlineView(IReadOnlyList<ConcurrentDictionary<DeviceUuid, byte>> nodes)
{
    /// <summary>How many devices, each counted once.</summary>
    public int Count
    {
        get
        {
            var count = nodes.Count == 0 ? 0 : nodes[0].Count;
            for (var i = 1; i < nodes.Count; i++)
            {
                foreach (var (uuid, _) in nodes[i])
                {
                    count += IsAt(uuid, i) ? 0 : 1;
                }
            }

            return count;
        }
    }

    public bool Contains(DeviceUuid uuid) => IsAt(uuid, nodes.Count);

    // Whether one of the first few nodes has it.
    private bool IsAt(DeviceUuid uuid, int count)
    {
        for (var i = 0; i < count; i++)
        {
            if (nodes[i].ContainsKey(uuid))
            {
                return true;
            }
        }

        return false;
    }
}
