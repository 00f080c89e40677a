using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Telemetry;

/// <summary>Debian's prometheus, scraping a gateway every second.</summary>
internal sealed class PrometheusServer : IAsyncDisposable
{
    private readonly DirectoryInfo _folder;
    private readonly ChildProcess _process;
    private readonly HttpClient _client;

    private PrometheusServer(DirectoryInfo folder, ChildProcess process, int port) =>
        (_folder, _process, _client) = (folder, process, new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") });

    /// <param name="targets">Admin ports of gateways.</param>
    /// <param name="rules">Rule files.</param>
    public static async Task<PrometheusServer> StartAsync(IEnumerable<int> targets, params string[] rules)
    {
        var folder = Directory.CreateTempSubdirectory("gateway-prometheus-");
        var port = RedisServer.FreePort();
        var file = Path.Combine(folder.FullName, "prometheus.yml");
        await File.WriteAllTextAsync(file, $"""
            global: {"{"} scrape_interval: 1s, evaluation_interval: 1s {"}"}
            rule_files: [{string.Join(", ", rules)}]
            scrape_configs:
              - job_name: gateway
                static_configs: [{"{"} targets: [{string.Join(", ", targets.Select(static target => $"'127.0.0.1:{target}'"))}] {"}"}]
            """);
        var process = ChildProcess.Start("prometheus", [$"--config.file={file}", $"--storage.tsdb.path={folder.FullName}/data", $"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"]);
        await process.WaitForOutputAsync("Server is ready to receive web requests");
        return new PrometheusServer(folder, process, port);
    }

    /// <summary>Evaluates an expression now.</summary>
    /// <returns>The labels and the value of each series.</returns>
    /// <exception cref="InvalidOperationException">The expression is wrong.</exception>
    public async Task<IReadOnlyList<(IReadOnlyDictionary<string, string> Labels, double Value)>> QueryAsync(string expression)
    {
        var answer = await AskAsync($"query?query={Uri.EscapeDataString(expression)}", expression);
        var data = answer.GetProperty("data");
        if (data.GetProperty("resultType").GetString() == "scalar")
        {
            return [(new Dictionary<string, string>(StringComparer.Ordinal), Number(data.GetProperty("result")))];
        }

        return [.. data.GetProperty("result").EnumerateArray().Select(static series => (
            (IReadOnlyDictionary<string, string>)series.GetProperty("metric").EnumerateObject().ToDictionary(static label => label.Name, static label => label.Value.GetString()!, StringComparer.Ordinal),
            Number(series.GetProperty("value"))))];

        static double Number(JsonElement pair) => double.Parse(pair[1].GetString()!.Replace("+Inf", "Infinity", StringComparison.Ordinal), CultureInfo.InvariantCulture);
    }

    /// <summary>The trace ids of exemplars of a metric.</summary>
    public async Task<IReadOnlyList<string>> ExemplarsAsync(string metric) =>
    [
        .. (await AskAsync($"query_exemplars?query={metric}&start={Time(-300)}&end={Time(60)}", metric)).GetProperty("data").EnumerateArray()
            .SelectMany(static series => series.GetProperty("exemplars").EnumerateArray())
            .Select(static exemplar => exemplar.GetProperty("labels").GetProperty("trace_id").GetString()!),
    ];

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _process.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private static string Time(int seconds) => (DateTimeOffset.UtcNow.ToUnixTimeSeconds() + seconds).ToString(CultureInfo.InvariantCulture);

    private async Task<JsonElement> AskAsync(string request, string expression)
    {
        using var response = await _client.GetAsync($"/api/v1/{request}");
        var answer = await response.Content.ReadFromJsonAsync<JsonElement>();
        return answer.GetProperty("status").GetString() == "success"
            ? answer
            : throw new InvalidOperationException($"{expression}: {answer.GetProperty("error").GetString()}");
    }
}
