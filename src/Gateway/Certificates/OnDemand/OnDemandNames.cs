using Gateway.Certificates.Acme;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Tunnel.Protocol;

namespace Gateway.Certificates.OnDemand;

/// <summary>Which names outside of the managed certificates may have one: those of devices that are enabled.</summary>
internal sealed class OnDemandNames(HostNames hosts, DomainDirectory domains, DeviceDirectory devices)
{
    /// <summary>Wildcards apart, names are shown to be ours by the listeners that their visitors come to anyway.</summary>
    public static AcmeChallenge ChallengeOf(AcmeOptions acme) => acme.Challenge == AcmeChallenge.Dns ? AcmeChallenge.Http : acme.Challenge;

    /// <summary>Finds the device that a name would be for, without asking anybody: a registered domain, or a device's host.</summary>
    public bool TryFind(string name, out DeviceUuid device) => domains.TryGetDevice(name, out device) || hosts.TryGetDevice(name, out device);

    /// <summary>Whether the name is registered, and its device exists and is enabled.</summary>
    /// <exception cref="StoreUnavailableException">Redis is away and nothing recent enough is known.</exception>
    public async ValueTask<bool> IsEntitledAsync(string name)
    {
        await domains.Loaded;
        return TryFind(name, out var device) && (await devices.FindAsync(device)).Known.Record is { PublicUrl: true };
    }
}
