using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using Bench.Processes;

namespace Bench.Machine;

/// <summary>Versions of all that takes part.</summary>
internal static partial class Versions
{
    private static readonly (string Name, string[] Command)[] Programs =
    [
        ("nginx", ["nginx", "-v"]), ("wrk", ["wrk", "-v"]), ("curl", ["curl", "--version"]), ("OpenSSL", ["openssl", "version"]),
        ("OpenSSH", ["ssh", "-V"]), ("OpenVPN", ["openvpn", "--version"]), ("pagekite", ["pagekite", "--appver"]), ("redis-server", ["redis-server", "--version"]),
    ];

    public static async Task<SortedDictionary<string, string>> ReadAsync(Stage stage)
    {
        var versions = new SortedDictionary<string, string>(StringComparer.Ordinal) { [".NET"] = RuntimeInformation.FrameworkDescription.Replace(".NET ", "", StringComparison.Ordinal) };
        var commit = await SayAsync(stage, ["git", "-C", Repository.Root, "rev-parse", "--short=10", "HEAD"]);
        var changed = await SayAsync(stage, ["git", "-C", Repository.Root, "status", "--porcelain", "--untracked-files=no"]);
        versions["commit"] = commit.Length == 0 ? "unknown" : commit.Trim() + (changed.Trim().Length > 0 ? " with changes" : "");
        foreach (var (name, command) in Programs)
        {
            var said = await SayAsync(stage, command);
            versions[name] = Number().Match(said) is { Success: true } number ? number.Value : "not installed";
        }

        return versions;
    }

    /// <summary>What a program says, whatever its status: wrk shows its version and fails.</summary>
    private static async Task<string> SayAsync(Stage stage, string[] command)
    {
        try
        {
            await using var process = stage.Launch(command[0], command);
            await process.WaitForExitAsync(stage.Stopping);
            return process.Output;
        }
        catch (BenchException)
        {
            return "";
        }
    }

    [GeneratedRegex(@"\d+\.\d+[\w.]*", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Number();
}
