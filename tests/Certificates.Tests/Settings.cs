namespace Gateway.Tests.Certificates;

internal static class Settings
{
    /// <summary>The settings with others above them.</summary>
    public static Dictionary<string, string?> With(this Dictionary<string, string?> settings, params (string Key, string? Value)[] more)
    {
        var all = new Dictionary<string, string?>(settings, StringComparer.OrdinalIgnoreCase);
        foreach (var (key, value) in more)
        {
            all[key] = value;
        }

        return all;
    }
}
