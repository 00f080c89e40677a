using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Listeners;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin.Api;

/// <summary>Devices as operators see them: the record, and whether it is there now.</summary>
internal sealed class DeviceDocuments(
    DeviceStore store, DeviceCatalogue catalogue, DeviceActivity activity, Presence presence, HostNames hosts, IOptions<ListenerOptions> listen)
{
    private static readonly TimeSpan LoadTimeout = TimeSpan.FromSeconds(30);

    /// <summary>Visitors' address of a device.</summary>
    public string UrlOf(DeviceUuid uuid)
    {
        var (scheme, address, standard) = listen.Value.Https.Length > 0 ? ("https", listen.Value.Https, ":443") : ("http", listen.Value.Http, ":80");
        var colon = address.LastIndexOf(':');
        var port = address.StartsWith("unix:", StringComparison.Ordinal) || colon < 0 ? "" : address[colon..];

        // Behind a load balancer or a port mapping the operator says what visitors use.
        return listen.Value.PublicOrigin is { Length: > 0 } origin
            ? origin.Replace("*", uuid.ToString(), StringComparison.Ordinal) + "/"
            : $"{scheme}://{uuid}.{hosts.PrimaryDomain}{(port == standard || port == ":0" ? "" : port)}/";
    }

    /// <exception cref="ApiException">There is no such device.</exception>
    public async Task<DeviceRecord> FindAsync(DeviceUuid uuid) => await store.FindAsync(uuid) ?? throw ApiProblem.UnknownDevice.Exception($"There is no device {uuid}.");

    public async Task<DeviceDocument> ShowAsync(DeviceRecord device) => Document(device, !(await presence.FindAsync(device.Uuid)).IsEmpty);

    /// <summary>One page; what it shows of each device is read from Redis anew.</summary>
    public async Task<(IReadOnlyList<DeviceDocument> Devices, int Total, DeviceUuid? Next)> ListAsync(CatalogueQuery query)
    {
        // Half a list would leave devices out without a word.
        await catalogue.Loaded.WaitAsync(LoadTimeout);
        var page = catalogue.List(query.Online is null ? query : query with { IsOnline = (await presence.AllOnlineAsync()).Contains });
        var uuids = page.Devices.Select(static device => device.Uuid).ToList();
        var (online, records) = (presence.AreOnlineAsync(uuids), Task.WhenAll(uuids.Select(store.FindAsync)));
        var devices = (await records).Zip(await online).Where(static device => device.First is not null).Select(device => Document(device.First!, device.Second));
        return ([.. devices], page.Total, page.HasMore ? page.Devices[^1].Uuid : null);
    }

    public async Task<DeviceStatus> StatusAsync(DeviceRecord device)
    {
        var uuid = device.Uuid;
        var (tunnels, counts, requests, past) = (presence.FindAsync(uuid), activity.CountsAsync(uuid), activity.RequestsAsync(uuid), activity.TunnelsAsync(uuid));
        await Task.WhenAll(tunnels, counts, requests, past);
        var count = await counts;
        return new DeviceStatus(
            !(await tunnels).IsEmpty, [.. (await tunnels).Select(static tunnel => new TunnelDocument(tunnel.Node, tunnel.Since, tunnel.Address, tunnel.Agent))],
            device.LastSeen, device.LastNode, count.Agent, count.Requests, count.Failures, count.BytesSent, count.BytesReceived, await requests, await past);
    }

    private DeviceDocument Document(DeviceRecord device, bool online) => new(
        device.Uuid.ToString(), device.Name, device.Tags, device.PublicUrl, UrlOf(device.Uuid), device.SelfService, device.Created, online, device.LastSeen);
}
