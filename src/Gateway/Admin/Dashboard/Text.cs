using System.Globalization;
using System.Text;
using QRCoder;

namespace Gateway.Admin.Dashboard;

/// <summary>Values as people read them.</summary>
internal static class Text
{
    public static string Ago(DateTimeOffset? at, DateTimeOffset now) => at is not { } time ? "never" : (now - time) switch
    {
        { TotalSeconds: < 5 } => "just now",
        { TotalSeconds: < 60 } span => $"{span.TotalSeconds:F0} s ago",
        { TotalMinutes: < 60 } span => $"{span.TotalMinutes:F0} min ago",
        { TotalHours: < 48 } span => $"{span.TotalHours:F0} h ago",
        var span => $"{span.TotalDays:F0} days ago",
    };

    /// <summary>How long until a time to come.</summary>
    public static string In(DateTimeOffset at, DateTimeOffset now) => (at - now) switch
    {
        { TotalMinutes: < 1 } => "in less than a minute",
        { TotalMinutes: < 60 } span => $"in {span.TotalMinutes:F0} min",
        { TotalHours: < 48 } span => $"in {span.TotalHours:F0} h",
        var span => $"in {span.TotalDays:F0} days",
    };

    public static string Time(DateTimeOffset at) => at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);

    public static string Bytes(long bytes) => bytes switch
    {
        < 1000 => $"{bytes} B",
        < 1_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1000.0:F1} kB"),
        < 1_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F1} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F2} GB"),
    };

    public static string Count(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    public static string Tag(KeyValuePair<string, string> tag) => tag.Value.Length == 0 ? tag.Key : $"{tag.Key}={tag.Value}";

    /// <summary>A QR code's dark modules as the path of an SVG, and its side in modules.</summary>
    public static (string Path, int Side) QrCode(string text)
    {
        using var generator = new QRCodeGenerator();
        using var code = generator.CreateQrCode(text, QRCodeGenerator.ECCLevel.M);
        var modules = code.ModuleMatrix;
        var path = new StringBuilder();
        for (var y = 0; y < modules.Count; y++)
        {
            for (var x = 0; x < modules.Count; x++)
            {
                if (modules[y][x])
                {
                    path.Append(CultureInfo.InvariantCulture, $"M{x} {y}h1v1h-1z");
                }
            }
        }

        return (path.ToString(), modules.Count);
    }
}
