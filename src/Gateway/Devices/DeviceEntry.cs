using System.Collections.Immutable;
using Gateway.Limits;
using Gateway.Storage;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>What this node knows of one device, and who is using it.</summary>
internal sealed class DeviceEntry(DeviceUuid uuid, DeviceStore store, TimeProvider time)
{
    private const int Retired = -1;

    private readonly Lock _lock = new();
    private Known? _known;
    private Task<Known>? _fetch;
    private CancellationTokenSource? _publicUrl;
    private int _version;
    private int _leases;
    private int _used;
    private long _reachableAt;
    private TaskCompletionSource? _changed;
    private ImmutableArray<KeyWatch> _watches = [];

    /// <summary>A record, or that there is none; when it was read (a timestamp of the time provider); and whether a later change was announced.</summary>
    /// <param name="Routes">Where its tunnels are; empty when it has none.</param>
    public sealed record Known(DeviceRecord? Record, ImmutableArray<DeviceRoute> Routes, long ReadAt, bool Overtaken);

    /// <summary>What visitors and tunnels of the device are under way on this node.</summary>
    public DeviceUse Use { get; } = new();

    /// <summary>What was read last; null before the first answer.</summary>
    public Known? Last => Volatile.Read(ref _known);

    /// <summary>Is cancelled when the public URL is switched off or the device is removed.</summary>
    public CancellationToken PublicUrlClosed
    {
        get
        {
            lock (_lock)
            {
                return _known is { Record.PublicUrl: true } ? (_publicUrl ??= new CancellationTokenSource()).Token : new CancellationToken(canceled: true);
            }
        }
    }

    /// <summary>Whether a visitor has the entry in use, an open stream for example.</summary>
    public bool IsLeased => Volatile.Read(ref _leases) > Watches;

    /// <summary>Whether a tunnel is up that was opened by one of the device's keys.</summary>
    public bool IsWatched => Watches > 0;

    private int Watches => _watches.Length;

    /// <summary>What was read last, if it is no older than <paramref name="ttl"/> and was not overtaken by a change.</summary>
    public Known? Fresh(TimeSpan ttl)
    {
        var known = Last;
        if (known is not null)
        {
            // Not for the first question: strangers ask for a great many names, each of them once.
            Volatile.Write(ref _used, 1);
        }

        return known is { Overtaken: false } && time.GetElapsedTime(known.ReadAt) <= ttl ? known : null;
    }

    /// <summary>Reads the record anew; callers at the same time share one question.</summary>
    public Task<Known> RefreshAsync()
    {
        lock (_lock)
        {
            return _fetch ??= Task.Run(FetchAsync);
        }
    }

    /// <summary>Takes another node's word, unless something newer was read meanwhile; it is only good enough while Redis is away.</summary>
    public Known Hear(Hearsay heard)
    {
        CancellationTokenSource? closed;
        Known known;
        lock (_lock)
        {
            var readAt = time.GetTimestamp() - (long)(heard.Age.TotalSeconds * time.TimestampFrequency);
            if (_known is { } newer && newer.ReadAt >= readAt)
            {
                return newer;
            }

            (known, closed) = Replace(heard.Record, heard.Routes, readAt, overtaken: true);
        }

        closed?.Cancel();
        EndWatches();
        return known;
    }

    /// <summary>The record has changed: what is known is only good enough while Redis is away.</summary>
    public void Invalidate()
    {
        lock (_lock)
        {
            _version++;
            _known = _known is null ? null : _known with { Overtaken = true };
        }
    }

    /// <summary>Completes when the entry has been read anew, or <see cref="Signal"/> was called, after this call.</summary>
    public Task WhenChangedAsync()
    {
        lock (_lock)
        {
            return (_changed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>Something about the device has changed that stands not in Redis: its tunnel on this node.</summary>
    public void Signal()
    {
        TaskCompletionSource? changed;
        lock (_lock)
        {
            (changed, _changed) = (_changed, null);
        }

        changed?.TrySetResult();
    }

    /// <summary>A way to the device was there just now.</summary>
    public void MarkReachable() => Volatile.Write(ref _reachableAt, time.GetTimestamp());

    /// <summary>Whether a way to the device was there within the last <paramref name="span"/>.</summary>
    public bool WasReachableWithin(TimeSpan span) => Volatile.Read(ref _reachableAt) is not 0 and var at && time.GetElapsedTime(at) <= span;

    /// <summary>Whether the entry was asked for since the last call.</summary>
    public bool TakeUsed() => Interlocked.Exchange(ref _used, 0) == 1;

    /// <summary>Keeps the entry alive and watched until <see cref="Release"/>; false when it was just dropped: look it up again.</summary>
    public bool TryLease()
    {
        var leases = Volatile.Read(ref _leases);
        while (leases != Retired)
        {
            var seen = Interlocked.CompareExchange(ref _leases, leases + 1, leases);
            if (seen == leases)
            {
                return true;
            }

            leases = seen;
        }

        return false;
    }

    /// <summary>Ends what <see cref="TryLease"/> began.</summary>
    public void Release() => Interlocked.Decrement(ref _leases);

    /// <summary>Drops the entry, unless somebody has it in use.</summary>
    public bool TryRetire() => Interlocked.CompareExchange(ref _leases, Retired, 0) == 0;

    /// <summary>
    /// Watches the key by which a tunnel was opened, or the device alone when it has proven itself otherwise, and keeps the entry alive until the watch is disposed of; null when the
    /// entry was just dropped: look it up again.
    /// </summary>
    public KeyWatch? TryWatchKey(DeviceKeyHash? key)
    {
        if (!TryLease())
        {
            return null;
        }

        var watch = new KeyWatch(this, key);
        lock (_lock)
        {
            _watches = _watches.Add(watch);
        }

        // The key may have been revoked since it was checked.
        EndWatches();
        return watch;
    }

    /// <summary>Ends the tunnels whose key has been revoked, has expired, or whose device is gone.</summary>
    public void EndWatches()
    {
        // Asked of every tunnel, every second: nothing is made of it unless one ends.
        List<KeyWatch>? ended = null;
        lock (_lock)
        {
            if (_known is { } known)
            {
                var now = time.GetUtcNow();
                foreach (var watch in _watches)
                {
                    if (known.Record is null || (watch.Key is { } key && known.Record.FindKey(key, now) is null))
                    {
                        (ended ??= []).Add(watch);
                    }
                }
            }
        }

        ended?.ForEach(static watch => watch.End());
    }

    private void Unwatch(KeyWatch watch)
    {
        lock (_lock)
        {
            _watches = _watches.Remove(watch);
        }

        Release();
    }

    private async Task<Known> FetchAsync()
    {
        try
        {
            while (true)
            {
                var version = Volatile.Read(ref _version);
                var readAt = time.GetTimestamp();

                // Both at once, and both for a device that does not exist: the time tells nothing.
                var finding = store.FindRoutesAsync(uuid);
                var record = await store.FindAsync(uuid);
                var routes = await finding;
                if (Last is { } last && Lacks(record, routes, last) && !await store.IsWholeAsync())
                {
                    throw new StoreUnavailableException("Redis was emptied; what is known of the device stays in use until it is written back.");
                }

                if (TryApply(version, record, routes, readAt) is { } known)
                {
                    return known;
                }
            }
        }
        finally
        {
            lock (_lock)
            {
                _fetch = null;
            }
        }
    }

    private static bool Lacks(DeviceRecord? record, ImmutableArray<DeviceRoute> routes, Known last) =>
        (record is null && last.Record is not null) || last.Routes.Any(known => routes.All(route => route.ConnectionId != known.ConnectionId));

    // Null when a change was announced while the question was under way: the answer may be from before it.
    private Known? TryApply(int version, DeviceRecord? record, ImmutableArray<DeviceRoute> routes, long readAt)
    {
        CancellationTokenSource? closed;
        TaskCompletionSource? changed;
        Known known;
        lock (_lock)
        {
            if (version != _version)
            {
                return null;
            }

            if (store.IsBeingRestored && _known is { } before)
            {
                // Those of nodes that have not written theirs back; one that is no more costs a second attempt.
                routes = [.. routes.UnionBy(before.Routes, static route => route.ConnectionId)];
            }

            (known, closed) = Replace(record, routes, readAt, overtaken: false);
            (changed, _changed) = (_changed, null);
        }

        changed?.TrySetResult();

        // Ends the open streams of visitors, and tunnels, outside of the lock.
        closed?.Cancel();
        EndWatches();
        return known;
    }

    /// <summary>Under the lock.</summary>
    /// <returns>What is known now, and what is to be cancelled outside of the lock.</returns>
    private (Known Known, CancellationTokenSource? Closed) Replace(DeviceRecord? record, ImmutableArray<DeviceRoute> routes, long readAt, bool overtaken)
    {
        CancellationTokenSource? closed = null;
        if (record is not { PublicUrl: true })
        {
            (closed, _publicUrl) = (_publicUrl, null);
        }

        // What is known stays the same objects: thousands of devices are read anew each minute, and few of them have changed.
        if (_known is { } before)
        {
            record = before.Record == record ? before.Record : record;
            routes = before.Routes.AsSpan().SequenceEqual(routes.AsSpan()) ? before.Routes : routes;
        }

        return (_known = new Known(record, routes, readAt, overtaken), closed);
    }

    /// <summary>A tunnel's interest in the key that opened it.</summary>
    public sealed class KeyWatch(DeviceEntry entry, DeviceKeyHash? key) : ProofWatch
    {
        public DeviceKeyHash? Key => key;

        /// <summary>What the device has under way.</summary>
        public DeviceUse Use => entry.Use;

        public override void Dispose() => entry.Unwatch(this);
    }
}
