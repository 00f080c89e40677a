using System.Globalization;
using Bench.Processes;

namespace Bench.Visits;

/// <summary>Large bodies with curl.</summary>
internal static class Curl
{
    /// <summary>Longest time of one transfer, in seconds.</summary>
    private const int Limit = 600;

    /// <returns>MB (10^6 bytes) a second.</returns>
    public static Task<double> DownAsync(Stage stage, string address, string host, string? network = null, params string[] more) =>
        RunAsync(stage, network, ["-w", "%{speed_download}", .. more, "-H", $"Host: {host}", $"{address}/big"]);

    /// <returns>MB (10^6 bytes) a second.</returns>
    public static Task<double> UpAsync(Stage stage, string address, string host, string file, string? network = null, params string[] more) =>
        RunAsync(stage, network, ["-w", "%{speed_upload}", .. more, "-H", "Expect:", "-T", file, "-H", $"Host: {host}", $"{address}/up"]);

    /// <summary>Waits until the application answers.</summary>
    public static Task AnswersAsync(Stage stage, string address, string host, string failure, ChildProcess process, string? network = null, params string[] more) => stage.UntilAsync(
        failure,
        async () =>
        {
            try
            {
                return (await stage.RunAsync("curl", ["curl", "-sf", "-m", "5", .. more, "-H", $"Host: {host}", $"{address}/small"], network)).Contains("hello", StringComparison.Ordinal);
            }
            catch (BenchException)
            {
                return false;
            }
        },
        process);

    private static async Task<double> RunAsync(Stage stage, string? network, string[] arguments) =>
        double.Parse(await stage.RunAsync("curl", ["curl", "-sSf", "-o", "/dev/null", "-m", $"{Limit}", .. arguments], network), CultureInfo.InvariantCulture) / 1e6;
}
