namespace Gateway.Admin.Dashboard;

/// <summary>What the fleet page is asked for.</summary>
public sealed record FleetQuery(string? Q, string? Online, string? Enabled, string? Cursor)
{
    public bool IsFiltered => !string.IsNullOrEmpty(Q) || !string.IsNullOrEmpty(Online) || !string.IsNullOrEmpty(Enabled);

    /// <summary>The address of another page of the same.</summary>
    public string Page(string? cursor)
    {
        var parts = new[] { ("q", Q), ("online", Online), ("enabled", Enabled), ("cursor", cursor) }
            .Where(static part => !string.IsNullOrEmpty(part.Item2)).Select(static part => $"{part.Item1}={Uri.EscapeDataString(part.Item2!)}");
        return "/?" + string.Join('&', parts);
    }
}
