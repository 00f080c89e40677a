using System.Text.Json;

namespace Gateway.Devices;

/// <summary>One tunnel of a device, as the node that holds it wrote it down: a field of the hash <c>route:{uuid}</c>.</summary>
/// <param name="Node">The node's id.</param>
/// <param name="Epoch">That node's start, for a node that was killed and started again has none of its tunnels any more.</param>
/// <param name="Since">When the tunnel came up.</param>
/// <param name="Agent">What the agent calls itself (its User-Agent).</param>
/// <param name="Address">Where the device dialled from, as the gateway sees it.</param>
internal sealed record DeviceRoute(string Node, string Epoch, DateTimeOffset Since, string Agent, string Address)
{
    /// <summary>The field's name.</summary>
    public required ConnectionId ConnectionId { get; init; }

    /// <summary>Reads a field; null when it is not of this form.</summary>
    public static DeviceRoute? Parse(string field, string json)
    {
        try
        {
            return ConnectionId.TryParse(field, out var connectionId)
                && JsonSerializer.Deserialize<Value>(json, JsonSerializerOptions.Web) is { Node: { } node, Epoch: { } epoch } value
                ? new DeviceRoute(CommonTexts.Share(node), CommonTexts.Share(epoch), value.Since, CommonTexts.Share(value.Agent ?? ""), value.Address ?? "") { ConnectionId = connectionId }
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The field's value.</summary>
    public string ToJson() => JsonSerializer.Serialize(new Value { Node = Node, Epoch = Epoch, Since = Since, Agent = Agent, Address = Address }, JsonSerializerOptions.Web);

    private sealed class Value
    {
        public string? Node { get; init; }

        public string? Epoch { get; init; }

        public DateTimeOffset Since { get; init; }

        public string? Agent { get; init; }

        public string? Address { get; init; }
    }
}
