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

    /// <summary>A record, or that there is none; when it was read (a timestamp of the time provider); and whether a later change was announced.</summary>
    /// <param name="PublicUrlClosed">Is cancelled when the public URL is switched off or the device is removed.</param>
    public sealed record Known(DeviceRecord? Record, long ReadAt, bool Overtaken, CancellationToken PublicUrlClosed);

    /// <summary>What was read last; null before the first answer.</summary>
    public Known? Last => Volatile.Read(ref _known);

    /// <summary>Whether somebody has the entry in use, a visitor's open stream for example.</summary>
    public bool IsLeased => Volatile.Read(ref _leases) > 0;

    /// <summary>What was read last, if it is no older than <paramref name="ttl"/> and was not overtaken by a change.</summary>
    public Known? Fresh(TimeSpan ttl)
    {
        var known = Last;
        Volatile.Write(ref _used, 1);
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

    /// <summary>The record has changed: what is known is only good enough while Redis is away.</summary>
    public void Invalidate()
    {
        lock (_lock)
        {
            _version++;
            _known = _known is null ? null : _known with { Overtaken = true };
        }
    }

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

    private async Task<Known> FetchAsync()
    {
        try
        {
            while (true)
            {
                var version = Volatile.Read(ref _version);
                var readAt = time.GetTimestamp();
                var record = await store.FindAsync(uuid);
                if (TryApply(version, record, readAt) is { } known)
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

    // Null when a change was announced while the question was under way: the answer may be from before it.
    private Known? TryApply(int version, DeviceRecord? record, long readAt)
    {
        CancellationTokenSource? closed = null;
        Known known;
        lock (_lock)
        {
            if (version != _version)
            {
                return null;
            }

            if (record is { PublicUrl: true })
            {
                _publicUrl ??= new CancellationTokenSource();
            }
            else
            {
                (closed, _publicUrl) = (_publicUrl, null);
            }

            _known = known = new Known(record, readAt, false, _publicUrl?.Token ?? new CancellationToken(canceled: true));
        }

        // Ends the open streams of visitors, outside of the lock.
        closed?.Cancel();
        return known;
    }
}
