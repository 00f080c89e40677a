namespace Gateway.Tunnels;

/// <summary>What has to be known of this node, and of others, when a device dials.</summary>
internal interface INode
{
    /// <summary>This node's id.</summary>
    string Id { get; }

    /// <summary>Whether this node sends its devices elsewhere and takes no new ones.</summary>
    bool IsDraining { get; }

    /// <summary>Whether another node is there that takes devices.</summary>
    bool HasOther { get; }
}
