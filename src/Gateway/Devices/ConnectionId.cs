namespace Gateway.Devices;

/// <summary>What a tunnel is called: unique among all tunnels of all nodes.</summary>
internal readonly record struct ConnectionId
{
    private readonly Guid _value;

    private ConnectionId(Guid value) => _value = value;

    public static ConnectionId New() => new(Guid.NewGuid());

    /// <summary>Reads 32 hex digits.</summary>
    public static bool TryParse(string text, out ConnectionId id)
    {
        var isId = Guid.TryParseExact(text, "N", out var value);
        id = new ConnectionId(value);
        return isId;
    }

    /// <summary>32 lower-case hex digits.</summary>
    public override string ToString() => _value.ToString("N");
}
