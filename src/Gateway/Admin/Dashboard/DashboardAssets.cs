using System.Collections.Frozen;
using System.Security.Cryptography;

namespace Gateway.Admin.Dashboard;

/// <summary>The dashboard's own style, script and icon, out of the program itself. Their addresses have a hash, so they may be kept for ever.</summary>
internal static class DashboardAssets
{
    private const string Prefix = "Gateway.Admin.Dashboard.Assets.";

    private static readonly FrozenDictionary<string, (byte[] Content, string Hash)> All = typeof(DashboardAssets).Assembly.GetManifestResourceNames()
        .Where(static name => name.StartsWith(Prefix, StringComparison.Ordinal)).ToFrozenDictionary(static name => name[Prefix.Length..], Read, StringComparer.Ordinal);

    public static string Url(string name) => $"/assets/{name}?v={All[name].Hash}";

    public static IResult Answer(HttpContext context, string name)
    {
        if (!All.TryGetValue(name, out var asset))
        {
            return TypedResults.NotFound();
        }

        context.Response.Headers.CacheControl = "public, max-age=31536000, immutable";
        var type = Path.GetExtension(name) switch
        {
            ".css" => "text/css; charset=utf-8",
            ".js" => "text/javascript; charset=utf-8",
            _ => "image/svg+xml",
        };
        return TypedResults.Bytes(asset.Content, type);
    }

    private static (byte[] Content, string Hash) Read(string resource)
    {
        using var stream = typeof(DashboardAssets).Assembly.GetManifestResourceStream(resource)!;
        var content = new byte[stream.Length];
        stream.ReadExactly(content);
        return (content, Convert.ToHexStringLower(SHA256.HashData(content).AsSpan(0, 6)));
    }
}
