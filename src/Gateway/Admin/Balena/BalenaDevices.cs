using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Gateway.Cluster;
using Gateway.Devices;
using Tunnel.Protocol;

namespace Gateway.Admin.Balena;

/// <summary>
/// Devices as balena's tools know them. Their numbers are made of the uuid's first 52 bits, which JavaScript's numbers
/// hold exactly; a fleet is a tag, <c>fleet=&lt;organisation/name&gt;</c>.
/// </summary>
internal sealed class BalenaDevices(DeviceStore store, DeviceCatalogue catalogue, Presence presence)
{
    private const string FleetTag = "fleet";
    private const int IdDigits = 13;

    private static readonly TimeSpan LoadTimeout = TimeSpan.FromSeconds(30);

    public static long IdOf(DeviceUuid uuid) => long.Parse(uuid.ToString().AsSpan(0, IdDigits), NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    /// <summary>The devices that match, by name.</summary>
    public async Task<List<DeviceSummary>> FindAsync(ODataFilter filter)
    {
        await catalogue.Loaded.WaitAsync(LoadTimeout);

        // A whole uuid is asked of Redis: another system may have written it this moment.
        foreach (var text in filter.Texts.Distinct(StringComparer.Ordinal))
        {
            if (DeviceUuid.TryParse(text, null, out var uuid))
            {
                catalogue.Apply(uuid, await store.FindAsync(uuid));
            }
        }

        var uuids = catalogue.Select(device => filter.Matches(field => field switch
        {
            "id" => IdOf(device.Uuid),
            "uuid" => device.UuidText,
            "device_name" => device.Name ?? "",
            "is_web_accessible" => device.PublicUrl,
            "belongs_to__application" => FleetOf(device) is { } fleet ? IdOfFleet(fleet) : null,
            _ => null,
        }));
        var records = await Task.WhenAll(uuids.Select(store.FindAsync));
        return [.. records.OfType<DeviceRecord>().Select(DeviceSummary.Of).OrderBy(static device => device.Name, StringComparer.OrdinalIgnoreCase)];
    }

    /// <summary>As OData has them; what balena keeps and this gateway does not is empty.</summary>
    public async Task<IEnumerable<object>> ShowAsync(IReadOnlyList<DeviceSummary> devices)
    {
        var online = await presence.AreOnlineAsync([.. devices.Select(static device => device.Uuid)]);
        return devices.Zip(online, static (device, isOnline) => new
        {
            id = IdOf(device.Uuid),
            uuid = device.UuidText,
            device_name = device.Name ?? device.UuidText[..7],
            is_web_accessible = device.PublicUrl,
            is_online = isOnline,
            overall_status = isOnline ? "idle" : "disconnected",
            status = "Idle",
            supervisor_version = "",
            os_version = "",
            is_of__device_type = new[] { new { slug = "generic" } },
            belongs_to__application = FleetOf(device) is { } fleet ? new[] { Fleet(fleet) } : [],
            is_running__release = Array.Empty<object>(),
        });
    }

    /// <summary>The fleets that match.</summary>
    public IEnumerable<object> FindFleets(ODataFilter filter) => catalogue.Tags().Keys
        .Where(static tag => tag.StartsWith(FleetTag + "=", StringComparison.Ordinal)).Select(static tag => tag[(FleetTag.Length + 1)..]).Order(StringComparer.Ordinal)
        .Where(fleet => filter.Matches(field => field switch
        {
            "id" => IdOfFleet(fleet),
            "slug" => fleet,
            "app_name" => NameOf(fleet),
            _ => null,
        }))
        .Select(Fleet);

    private static object Fleet(string slug) => new { id = IdOfFleet(slug), slug, app_name = NameOf(slug) };

    private static string? FleetOf(DeviceSummary device) => device.Tags.GetValueOrDefault(FleetTag);

    private static string NameOf(string fleet) => fleet[(fleet.LastIndexOf('/') + 1)..];

    private static long IdOfFleet(string fleet) => long.Parse(
        Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(fleet))).AsSpan(0, IdDigits), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
