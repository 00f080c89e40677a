namespace Gateway.Cluster;

/// <summary>
/// The words of the hop between two nodes: the visitor's request as the device will get it, over HTTP/2, with the device's
/// uuid in a field of its own. A node takes such a request to its own tunnels only, so that there is never a second hop.
/// </summary>
internal static class HopProtocol
{
    /// <summary>The request's field that names the device.</summary>
    public const string DeviceHeader = "Gateway-Hop";

    /// <summary>
    /// The request's field that has the visitor's <c>Host</c>, or <c>:authority</c>: between nodes it would be the name of the connection, and each device would have connections of
    /// its own to every node that its visitors come to.
    /// </summary>
    public const string HostHeader = "Gateway-Host";

    /// <summary>
    /// Instead of <see cref="DeviceHeader"/>, which every request of a visitor carries on a hop: what does the node know of the device of this uuid?
    /// The answer is 200 with its record, or 404.
    /// </summary>
    public const string QuestionHeader = "Gateway-Question";

    /// <summary>The member of <c>Proxy-Status</c> (RFC 9209) by which a node marks an answer of its own; <c>error</c> is a failure's name.</summary>
    public const string ProxyName = "gateway-node";
}
