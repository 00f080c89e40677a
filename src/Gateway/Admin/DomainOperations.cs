using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Devices;
using Gateway.Listeners;
using Tunnel.Protocol;

namespace Gateway.Admin;

/// <summary>Everything that changes the domains that devices have of their own: check, change, announce, and leave one entry in the audit.</summary>
internal sealed class DomainOperations(DomainStore domains, DeviceStore devices, HostNames hosts, AuditLog audit)
{
    /// <summary>The domains of a device.</summary>
    /// <exception cref="ApiException">There is no such device.</exception>
    public async Task<IReadOnlyList<string>> ListAsync(DeviceUuid uuid)
    {
        await CheckAsync(uuid);
        return await domains.ListAsync(uuid);
    }

    /// <summary>What the domain's CNAME in the DNS has to name.</summary>
    public string TargetOf(DeviceUuid uuid) => $"{uuid}.{hosts.PrimaryDomain}";

    /// <summary>Gives a device a domain of its own.</summary>
    /// <returns>False when it had it already; then nothing was changed.</returns>
    /// <exception cref="ApiException">There is no such device, or the domain cannot be its.</exception>
    public async Task<bool> AddAsync(Actor actor, DeviceUuid uuid, DomainName domain)
    {
        await CheckAsync(uuid);
        if (hosts.Domains.FirstOrDefault(known => $".{domain}".EndsWith($".{known}", StringComparison.OrdinalIgnoreCase)) is { } own)
        {
            throw Input.Invalid($"{domain} is below {own}, which is the gateway's own: give a domain of the device's owner.");
        }

        var (owner, added) = await domains.AddAsync(domain, uuid);

        // A device that is no more keeps nothing from others.
        if (owner != uuid && await devices.FindAsync(owner) is null && await domains.RemoveAsync(domain, owner))
        {
            (owner, added) = await domains.AddAsync(domain, uuid);
        }

        if (owner != uuid)
        {
            throw ApiProblem.DomainTaken.Exception($"{domain} belongs to the device {owner}: remove it there first.");
        }

        if (added)
        {
            await audit.WriteAsync(actor, "domain.add", uuid.ToString(), null, new { domain = domain.ToString() });
        }

        return added;
    }

    /// <summary>Takes a domain from a device.</summary>
    /// <exception cref="ApiException">There is no such device, or it has no such domain.</exception>
    public async Task RemoveAsync(Actor actor, DeviceUuid uuid, DomainName domain)
    {
        await CheckAsync(uuid);
        if (!await domains.RemoveAsync(domain, uuid))
        {
            throw ApiProblem.UnknownDomain.Exception($"{domain} is no domain of the device {uuid}.");
        }

        await audit.WriteAsync(actor, "domain.remove", uuid.ToString(), new { domain = domain.ToString() }, null);
    }

    private async Task CheckAsync(DeviceUuid uuid) => _ = await devices.FindAsync(uuid) ?? throw ApiProblem.UnknownDevice.Exception($"There is no device {uuid}.");
}
