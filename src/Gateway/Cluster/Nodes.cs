using System.Collections.Concurrent;
using System.Collections.Frozen;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Cluster;

/// <summary>
/// The nodes on this Redis: says that this one lives, and knows the others. A node is dead when its key has run out, when
/// it said good-bye, or when its id has a new epoch. While Redis is away the last known ones stay in use; a node that does
/// not answer is passed over for a moment (<see cref="MarkUnreachable"/>), whatever its key says.
/// </summary>
internal sealed partial class Nodes(
    NodeIdentity self, RedisConnection redis, IOptions<ClusterOptions> options, TimeProvider time, ILogger<Nodes> logger) : BackgroundService, INode
{
    /// <summary>A set of the ids of all nodes; a node's own key says whether it lives.</summary>
    public static readonly RedisKey Ids = "nodes";

    /// <summary>Tells all nodes that one of them has come, gone, or begins to drain; the message is its id.</summary>
    public static readonly RedisChannel Changes = RedisChannel.Literal("nodes");

    /// <summary>How long a node that could not be reached is tried last.</summary>
    private static readonly TimeSpan Suspicion = TimeSpan.FromSeconds(3);

    /// <summary>
    /// How long a node whose record is gone may still hand requests over: it may be alive and cut off from Redis alone, and go on from memory.
    /// </summary>
    private static readonly TimeSpan Remembered = TimeSpan.FromMinutes(5);

    private readonly ClusterOptions _options = options.Value;
    private readonly ConcurrentDictionary<(string Id, string Epoch), long> _unreachable = new();
    private readonly ConcurrentDictionary<(string Id, string Epoch), (NodeRecord Node, long At)> _died = new();
    private readonly SemaphoreSlim _refreshing = new(1, 1);
    private readonly SemaphoreSlim _wake = new(0);
    private FrozenDictionary<string, NodeRecord> _live = FrozenDictionary<string, NodeRecord>.Empty;
    private volatile bool _draining;
    private volatile bool _left;
    private bool _announced;
    private long _uncertainSince;
    private bool _drainWanted;

    /// <summary>Redis has forgotten this node: what it wrote there may be lost, its routes among it.</summary>
    public event Action? Forgotten;

    /// <summary>Somebody asks this node to drain (true), or to take devices again (false): <c>gateway node drain</c>.</summary>
    public event Action<bool>? DrainRequested;

    public string Id => self.Id;

    public bool IsDraining => _draining;

    /// <summary>What this node says of itself.</summary>
    public NodeRecord Self => new(self.Id, self.Epoch, self.Started, self.Certificate is null ? null : AdvertisedAddress, self.CertificateHash, _draining);

    /// <summary>All nodes that live, this one included once it has been announced.</summary>
    public IReadOnlyCollection<NodeRecord> Live => _live.Values;

    public bool HasOther => _live.Values.Any(node => node.Id != self.Id && !node.Draining && !IsUnreachable(node));

    /// <summary>The node's key in Redis.</summary>
    public static RedisKey KeyOf(string id) => $"node:{id}";

    /// <summary>There as long as an operator wants the node to drain; the value is the node's epoch.</summary>
    public static RedisKey DrainKeyOf(string id) => $"drain:{id}";

    /// <summary>The node that holds a route's tunnel; null when it lives no more.</summary>
    public NodeRecord? Find(DeviceRoute route) =>
        _live.TryGetValue(route.Node, out var node) && node.Epoch == route.Epoch ? node : null;

    /// <summary>Whether the certificate is that of a node that lives, or did some minutes ago.</summary>
    public bool IsPeer(string certificateHash) =>
        _live.Values.Any(node => node.Certificate == certificateHash && node.Id != self.Id)
        || _died.Values.Any(died => died.Node.Certificate == certificateHash && died.Node.Id != self.Id);

    /// <summary>Whether the route's node died so lately that its devices may be on their way to another one.</summary>
    public bool DiedWithin(DeviceRoute route, TimeSpan span) => _died.TryGetValue((route.Node, route.Epoch), out var died) && time.GetElapsedTime(died.At) <= span;

    /// <summary>The node did not answer: for a moment it is nobody's first choice.</summary>
    public void MarkUnreachable(NodeRecord node)
    {
        _unreachable[(node.Id, node.Epoch)] = time.GetTimestamp();
        LogUnreachable(logger, node.Id, node.Address);
    }

    /// <summary>Whether the node did not answer a moment ago.</summary>
    public bool IsUnreachable(NodeRecord node) =>
        _unreachable.TryGetValue((node.Id, node.Epoch), out var at) && time.GetElapsedTime(at) < Suspicion;

    /// <summary>Tells the others that this node takes no devices any more, or does again.</summary>
    public async Task SetDrainingAsync(bool draining)
    {
        _draining = draining;
        try
        {
            await BeatAsync();
            await redis.Database.PublishAsync(Changes, self.Id);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            _wake.Release(); // the next beat says it
        }
    }

    /// <summary>Says good-bye: the node's tunnels have ended.</summary>
    public async Task LeaveAsync()
    {
        _left = true;
        try
        {
            var database = redis.Database;
            await Task.WhenAll(
                database.KeyDeleteAsync([KeyOf(self.Id)]),
                database.SetRemoveAsync(Ids, self.Id),
                database.PublishAsync(Changes, self.Id));
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            // The key runs out by itself.
        }
    }

    /// <summary>Asks Redis who is there.</summary>
    public async Task RefreshAsync()
    {
        await _refreshing.WaitAsync();
        try
        {
            var database = redis.Database;
            var ids = (await database.SetMembersAsync(Ids)).Select(static id => (string)id!).ToArray();
            var values = await Task.WhenAll(ids.Select(id => database.StringGetAsync(KeyOf(id))));
            var live = new Dictionary<string, NodeRecord>(StringComparer.Ordinal);
            for (var i = 0; i < ids.Length; i++)
            {
                if ((string?)values[i] is not { } json)
                {
                    await database.SetRemoveAsync(Ids, ids[i]);
                }
                else if (NodeRecord.Parse(json, _options.Secret) is { } record && record.Id == ids[i])
                {
                    live[record.Id] = record;
                }
                else
                {
                    LogUnreadable(logger, ids[i]);
                }
            }

            if (IsUncertain)
            {
                foreach (var node in _live.Values)
                {
                    live.TryAdd(node.Id, node);
                }
            }

            Apply(live.ToFrozenDictionary(StringComparer.Ordinal));
        }
        finally
        {
            _refreshing.Release();
        }
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            var multiplexer = await redis.FirstConnected.WaitAsync(stoppingToken);
            multiplexer.ConnectionRestored += (_, _) => _wake.Release();
            await redis.SubscribeAsync(Changes, _ => _wake.Release(), stoppingToken);
            while (true)
            {
                await TryBeatAsync();
                await _wake.WaitAsync(_options.Heartbeat, stoppingToken);
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

    private async Task TryBeatAsync()
    {
        try
        {
            await BeatAsync();
            await RefreshAsync();
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
        {
            // Said by the connection; what is known stays in use.
            Volatile.Write(ref _uncertainSince, time.GetTimestamp());
        }
    }

    private async Task BeatAsync()
    {
        if (_left)
        {
            return;
        }

        var database = redis.Database;
        var before = (string?)await database.StringSetAndGetAsync(KeyOf(self.Id), Self.ToJson(_options.Secret), _options.Heartbeat * 3, keepTtl: false);
        await database.SetAddAsync(Ids, self.Id);
        var drain = (string?)await database.StringGetAsync(DrainKeyOf(self.Id)) == self.Epoch;
        if (drain != _drainWanted)
        {
            _drainWanted = drain;
            DrainRequested?.Invoke(drain);
        }

        var known = before is null ? null : NodeRecord.Parse(before, _options.Secret);
        if (!_announced)
        {
            _announced = true;
            await database.PublishAsync(Changes, self.Id);
        }
        else if (known is null)
        {
            LogForgotten(logger);
            Volatile.Write(ref _uncertainSince, time.GetTimestamp());
            Forgotten?.Invoke();
            await database.PublishAsync(Changes, self.Id);
        }
        else if (known.Epoch != self.Epoch && known.Started >= self.Started)
        {
            LogSameName(logger, self.Id);
        }
    }

    // While this node could not write, and for as long as a record lasts after that, others may not have written theirs: that one
    // is missing then does not say that its node is dead.
    private bool IsUncertain => Volatile.Read(ref _uncertainSince) is not 0 and var since && time.GetElapsedTime(since) < _options.Heartbeat * 3;

    private void Apply(FrozenDictionary<string, NodeRecord> live)
    {
        var before = _live;
        _live = live;
        foreach (var node in before.Values)
        {
            if (!live.TryGetValue(node.Id, out var now) || now.Epoch != node.Epoch)
            {
                _died[(node.Id, node.Epoch)] = (node, time.GetTimestamp());
                _unreachable.TryRemove((node.Id, node.Epoch), out _);
                LogGone(logger, node.Id);
            }
        }

        foreach (var node in live.Values)
        {
            if (node.Id != self.Id && (!before.TryGetValue(node.Id, out var known) || known.Epoch != node.Epoch))
            {
                LogCame(logger, node.Id, node.Address);
            }
        }

        foreach (var (node, died) in _died)
        {
            if (time.GetElapsedTime(died.At) > Remembered)
            {
                _died.TryRemove(node, out _);
            }
        }
    }

    private string AdvertisedAddress => _options.Advertise.Length > 0 ? _options.Advertise : _options.Listen;

    [LoggerMessage(Level = LogLevel.Information, Message = "Node {Id} is there ({Address})")]
    private static partial void LogCame(ILogger logger, string id, string? address);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Node {Id} is gone")]
    private static partial void LogGone(ILogger logger, string id);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Node {Id} at {Address} cannot be reached; other ways are tried first")]
    private static partial void LogUnreachable(ILogger logger, string id, string? address);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Redis has forgotten this node: its routes are written again")]
    private static partial void LogForgotten(ILogger logger);

    [LoggerMessage(Level = LogLevel.Error, Message = "The record of node {Id} is not signed with this node's Cluster:Secret: it is left out; give all nodes the same secret")]
    private static partial void LogUnreadable(ILogger logger, string id);

    [LoggerMessage(Level = LogLevel.Error, Message = "Another node calls itself {Id} too: give each node a name of its own (Cluster:Node)")]
    private static partial void LogSameName(ILogger logger, string id);
}
