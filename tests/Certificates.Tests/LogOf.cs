using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Gateway.Tests.Certificates;

/// <summary>What an operator reads of a gateway under test.</summary>
internal static class LogOf
{
    /// <summary>To be given to a gateway that a test wants to read.</summary>
    public static void Kept(WebApplicationBuilder builder) => builder.Logging.AddFakeLogging();

    public static IEnumerable<string> Log(this TestGateway gateway, LogLevel least = LogLevel.Information) =>
        gateway.Services.GetFakeLogCollector().GetSnapshot().Where(record => record.Level >= least).Select(static record => record.Message);

    /// <summary>Waits for a line.</summary>
    /// <returns>The line.</returns>
    public static async Task<string> SaysAsync(this TestGateway gateway, params string[] parts)
    {
        string? line = null;
        await Eventually.TrueAsync(
            () => (line = gateway.Log().FirstOrDefault(line => Array.TrueForAll(parts, part => line.Contains(part, StringComparison.Ordinal)))) is not null,
            $"the log says \"{string.Join(" ... ", parts)}\"");
        TestContext.Current.TestOutputHelper?.WriteLine(line!);
        return line!;
    }
}
