using System.Collections.Immutable;
using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Devices;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin;

/// <summary>
/// Everything that changes a device, for the API, the dashboard and balena's tools alike: check, change, announce, and
/// leave one entry in the audit. What changes nothing leaves none.
/// </summary>
internal sealed class DeviceOperations(
    DeviceStore store, DomainStore domains, DeviceCatalogue catalogue, DeviceActivity activity, AuditLog audit, IOptions<DeviceOptions> options, TimeProvider time)
{
    private const int BulkBatch = 100;
    private const int BulkAttempts = 6;

    private static readonly TimeSpan BulkPause = TimeSpan.FromMilliseconds(500);

    private const int MaxAuditedUuids = 100;
    private const int MaxKeys = 20;

    private readonly DeviceOptions _options = options.Value;

    /// <summary>Adds a device, with a key unless it is to get one later.</summary>
    /// <returns>The device and its key's text, which is in no other place.</returns>
    /// <exception cref="ApiException">The uuid is taken.</exception>
    public async Task<(DeviceRecord Device, string? Key)> CreateAsync(
        Actor actor, DeviceUuid? uuid, string? name, ImmutableSortedDictionary<string, string> tags, bool? publicUrl, bool? selfService, bool withKey)
    {
        var (key, hash) = DeviceKeyHash.New();
        var device = new DeviceRecord
        {
            Uuid = uuid ?? DeviceUuid.New(),
            Name = name,
            Tags = tags,
            PublicUrl = publicUrl ?? _options.PublicUrlByDefault,
            SelfService = selfService ?? _options.SelfServiceByDefault,
            Created = time.GetUtcNow(),
            Keys = withKey ? [new DeviceKey(hash, Created: time.GetUtcNow())] : [],
        };
        switch (await store.AddAsync(device))
        {
            case AddConflict.Exists:
                throw ApiProblem.DeviceExists.Exception($"The device {device.Uuid} exists already.");
            case AddConflict.Deleted:
                throw ApiProblem.UuidUsed.Exception();
            default:
                break;
        }

        device = device with { Version = 1 };
        catalogue.Apply(device.Uuid, device);
        await audit.WriteAsync(actor, "device.create", device.Uuid.ToString(), null, Audited(device));
        return (device, withKey ? key : null);
    }

    /// <summary>Changes a device.</summary>
    /// <param name="change">May be called more than once, and may throw <see cref="ApiException"/> to change nothing.</param>
    /// <returns>The device after it, and whether anything was changed.</returns>
    /// <exception cref="ApiException">There is no such device.</exception>
    public async Task<(DeviceRecord Device, bool Changed)> UpdateAsync(Actor actor, DeviceUuid uuid, Func<DeviceRecord, DeviceRecord> change)
    {
        var (before, after) = await store.ChangeAsync(uuid, change) ?? throw Unknown(uuid);
        if (ReferenceEquals(before, after))
        {
            return (after, false);
        }

        catalogue.Apply(uuid, after);
        await audit.WriteAsync(actor, "device.update", uuid.ToString(), Audited(before, after), Audited(after, before));
        return (after, true);
    }

    /// <summary>Deletes a device: its tunnels and its visitors' connections end on every node, and its domains are free for others.</summary>
    /// <exception cref="ApiException">There is no such device.</exception>
    public async Task DeleteAsync(Actor actor, DeviceUuid uuid, Action<DeviceRecord> check)
    {
        var before = await store.DeleteAsync(uuid, check) ?? throw Unknown(uuid);
        catalogue.Apply(uuid, null);
        await activity.ForgetAsync(uuid);
        foreach (var name in await domains.ListAsync(uuid))
        {
            if (DomainName.TryParse(name, out var domain))
            {
                await domains.RemoveAsync(domain, uuid);
            }
        }

        await audit.WriteAsync(actor, "device.delete", uuid.ToString(), Audited(before), null);
    }

    /// <summary>Issues one more key.</summary>
    /// <returns>The key, and its text, which is in no other place.</returns>
    public async Task<(DeviceKey Key, string Text)> IssueKeyAsync(Actor actor, DeviceUuid uuid, string? name, DateTimeOffset? expires)
    {
        var (text, hash) = DeviceKeyHash.New();
        var key = new DeviceKey(hash, name, time.GetUtcNow(), expires);
        _ = await store.ChangeAsync(uuid, record => record.Keys.Length < MaxKeys
            ? record with { Keys = record.Keys.Add(key) }
            : throw ApiProblem.Conflict.Exception($"The device has {MaxKeys} keys already: revoke one first.")) ?? throw Unknown(uuid);
        await audit.WriteAsync(actor, "key.issue", uuid.ToString(), null, Audited(key));
        return (key, text);
    }

    /// <summary>Issues a key that takes the place of all others, which stay good for a while.</summary>
    public async Task<(DeviceKey Key, string Text)> RotateKeysAsync(Actor actor, DeviceUuid uuid, string? name, TimeSpan overlap)
    {
        var (text, hash) = DeviceKeyHash.New();
        var now = time.GetUtcNow();
        var key = new DeviceKey(hash, name, now);
        var end = now + overlap;
        var (before, after) = await store.ChangeAsync(uuid, record => record with
        {
            // What has expired goes; what ends earlier still does.
            Keys = [.. record.Keys.Where(old => old.IsValid(now) && overlap > TimeSpan.Zero).Select(old => old.Expires < end ? old : old with { Expires = end }), key],
        }) ?? throw Unknown(uuid);
        await audit.WriteAsync(actor, "key.rotate", uuid.ToString(), new { keys = before.Keys.Select(Audited) }, new { keys = after.Keys.Select(Audited) });
        return (key, text);
    }

    /// <summary>Revokes a key: the tunnels that it opened end on every node.</summary>
    /// <exception cref="ApiException">There is no such device, or no such key.</exception>
    public async Task RevokeKeyAsync(Actor actor, DeviceUuid uuid, string fingerprint)
    {
        var (before, _) = await store.ChangeAsync(uuid, record => record with { Keys = record.Keys.Remove(Find(record)) }) ?? throw Unknown(uuid);
        await audit.WriteAsync(actor, "key.revoke", uuid.ToString(), Audited(Find(before)), null);

        DeviceKey Find(DeviceRecord record) => record.Keys.FirstOrDefault(key => key.Hash.Fingerprint.Equals(fingerprint, StringComparison.OrdinalIgnoreCase))
            ?? throw ApiProblem.UnknownKey.Exception($"The device {uuid} has no key {fingerprint}.");
    }

    /// <summary>Switches many devices, and tells how far it is after each batch; ends early, and says so in the audit, when it is cancelled.</summary>
    /// <param name="selection">What was asked for, for the audit.</param>
    public async IAsyncEnumerable<BulkProgress> SetPublicUrlsAsync(
        Actor actor, ImmutableArray<DeviceUuid> uuids, bool enabled, string selection, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var progress = new BulkProgress(0, uuids.Length, 0, []);
        var changedUuids = new List<DeviceUuid>();
        try
        {
            foreach (var batch in uuids.Chunk(BulkBatch))
            {
                cancellationToken.ThrowIfCancellationRequested();
                var results = await Task.WhenAll(batch.Select(async uuid => (uuid, Change: await SwitchAsync(uuid, enabled, cancellationToken))));
                foreach (var (uuid, change) in results)
                {
                    if (change is null)
                    {
                        progress = progress with { NotFound = progress.NotFound.Add(uuid.ToString()) };
                    }
                    else if (change.Value.Changed)
                    {
                        catalogue.Apply(uuid, change.Value.Device);
                        changedUuids.Add(uuid);
                    }
                }

                progress = progress with { Done = progress.Done + batch.Length, Changed = changedUuids.Count };
                yield return progress;
            }
        }
        finally
        {
            if (changedUuids.Count > 0)
            {
                await audit.WriteAsync(
                    actor, "public-url.bulk", null, null,
                    new { publicUrl = enabled, selection, asked = uuids.Length, changed = changedUuids.Count, devices = changedUuids.Take(MaxAuditedUuids).Select(static uuid => uuid.ToString()) });
            }
        }
    }

    // Redis that is slow for a moment ends no work of minutes. What is asked again may have been done the first time, without a word to the nodes.
    private async Task<(DeviceRecord Device, bool Changed)?> SwitchAsync(DeviceUuid uuid, bool enabled, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                if (await store.ChangeAsync(uuid, record => record with { PublicUrl = enabled }) is not var (before, after))
                {
                    return null;
                }

                var changed = !ReferenceEquals(before, after);
                if (!changed && attempt > 1)
                {
                    await store.AnnounceAsync(uuid);
                }

                return (after, changed || attempt > 1);
            }
            catch (Exception exception) when (attempt < BulkAttempts && RedisConnection.IsUnavailable(exception))
            {
                await Task.Delay(BulkPause * attempt, time, cancellationToken);
            }
        }
    }

    private static ApiException Unknown(DeviceUuid uuid) => ApiProblem.UnknownDevice.Exception($"There is no device {uuid}.");

    private static object Audited(DeviceRecord device) => new
    {
        device.Name, device.PublicUrl, device.SelfService, Tags = device.Tags.IsEmpty ? null : device.Tags, Keys = device.Keys.Select(static key => key.Hash.Fingerprint),
    };

    // Only what differs.
    private static object Audited(DeviceRecord device, DeviceRecord other) => new
    {
        Name = device.Name == other.Name ? null : device.Name ?? "",
        PublicUrl = device.PublicUrl == other.PublicUrl ? (bool?)null : device.PublicUrl,
        SelfService = device.SelfService == other.SelfService ? (bool?)null : device.SelfService,
        Tags = device.Tags.SequenceEqual(other.Tags) ? null : device.Tags,
    };

    private static object Audited(DeviceKey key) => new { key = key.Hash.Fingerprint, key.Name, key.Expires };
}

/// <param name="Done">Devices that have been looked at.</param>
/// <param name="Total">Devices that were asked for.</param>
/// <param name="Changed">Devices that were not as wanted before.</param>
/// <param name="NotFound">Uuids that are no device's.</param>
internal sealed record BulkProgress(int Done, int Total, int Changed, ImmutableArray<string> NotFound);
