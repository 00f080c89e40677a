using System.Globalization;
using System.Text.RegularExpressions;
using Bench.Processes;

namespace Bench.Visits;

/// <summary>What wrk found.</summary>
/// <param name="P50">Milliseconds.</param>
/// <param name="P99">Milliseconds.</param>
internal sealed record WrkResult(long Requests, double RequestsPerSecond, double P50, double P99);

/// <summary>Load of small requests: https://github.com/wg/wrk.</summary>
internal static partial class Wrk
{
    /// <param name="url">Address and path.</param>
    /// <param name="close">Whether each request has a connection of its own.</param>
    public static async Task<WrkResult> RunAsync(Stage stage, string url, string host, int threads, int connections, int seconds, string? network = null, bool close = false)
    {
        string[] command = ["wrk", "--latency", $"-t{threads}", $"-c{connections}", $"-d{seconds}", "-H", $"Host: {host}", .. close ? (string[])["-H", "Connection: close"] : [], url];
        return Parse(await stage.RunAsync("wrk", command, network));
    }

    /// <exception cref="BenchException">Some answers were errors, or it has no result.</exception>
    internal static WrkResult Parse(string output)
    {
        if (output.Contains("Non-2xx", StringComparison.Ordinal))
        {
            throw new BenchException($"wrk got errors for answers: {output}");
        }

        try
        {
            var result = new WrkResult(
                long.Parse(Requests().Match(output).Groups["value"].Value, CultureInfo.InvariantCulture), double.Parse(Rate().Match(output).Groups["value"].Value, CultureInfo.InvariantCulture),
                Milliseconds(P50().Match(output).Groups["value"].Value), Milliseconds(P99().Match(output).Groups["value"].Value));
            return result.Requests > 0 ? result : throw new BenchException("wrk got no answer in its time");
        }
        catch (FormatException)
        {
            throw new BenchException($"wrk has no result: {output}");
        }
    }

    internal static double Milliseconds(string text) => text switch
    {
        [.. var number, 'u', 's'] => double.Parse(number, CultureInfo.InvariantCulture) / 1000,
        [.. var number, 'm', 's'] => double.Parse(number, CultureInfo.InvariantCulture),
        [.. var number, 's'] => double.Parse(number, CultureInfo.InvariantCulture) * 1000,
        [.. var number, 'm'] => double.Parse(number, CultureInfo.InvariantCulture) * 60_000,
        _ => throw new FormatException($"\"{text}\" is no time of wrk."),
    };

    [GeneratedRegex(@"(?<value>\d+) requests in", RegexOptions.None, 1000)]
    private static partial Regex Requests();

    [GeneratedRegex(@"Requests/sec:\s+(?<value>[\d.]+)", RegexOptions.None, 1000)]
    private static partial Regex Rate();

    [GeneratedRegex(@"^\s+50%\s+(?<value>\S+)", RegexOptions.Multiline, 1000)]
    private static partial Regex P50();

    [GeneratedRegex(@"^\s+99%\s+(?<value>\S+)", RegexOptions.Multiline, 1000)]
    private static partial Regex P99();
}
