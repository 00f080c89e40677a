using System.Diagnostics.Metrics;
using System.Text.RegularExpressions;
using Gateway.Certificates;
using Gateway.Telemetry;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Telemetry;

/// <summary>The pages lead somewhere, and name what there is.</summary>
public sealed partial class DocumentTests
{
    [Fact]
    public void Every_link_leads_to_a_file()
    {
        var pages = Directory.GetFiles(Repository.File("docs"), "*.md", SearchOption.AllDirectories).Append(Repository.File("README.md")).Append(Repository.File("THREATS.md")).Append(Repository.File("SECURITY.md")).Append(Repository.File("deploy/helm/gateway/README.md")).ToList();
        Assert.True(pages.Count > 20);
        foreach (var page in pages)
        {
            foreach (var target in Link().Matches(File.ReadAllText(page)).Select(static match => match.Groups["target"].Value).Where(static target => !target.Contains(':', StringComparison.Ordinal)))
            {
                var parts = target.Split('#');
                var path = parts[0].Length == 0 ? page : Path.GetFullPath(Path.Combine(Path.GetDirectoryName(page)!, parts[0]));
                Assert.True(File.Exists(path) || Directory.Exists(path), $"{page}: {target} leads nowhere.");
                if (parts.Length > 1)
                {
                    var headings = Heading().Matches(File.ReadAllText(path)).Select(static match => Mark().Replace(match.Groups["text"].Value.Trim().ToLowerInvariant(), "").Replace(' ', '-'));
                    Assert.True(headings.Contains(parts[1], StringComparer.Ordinal), $"{page}: there is no heading #{parts[1]} in {path}.");
                }
            }
        }
    }

    [Fact]
    public void Every_instrument_is_documented_with_its_unit()
    {
        var page = File.ReadAllText(Repository.File("docs/metrics.md"));
        var instruments = new List<Instrument>();
        using var services = new ServiceCollection().AddMetrics().BuildServiceProvider();
        using var listener = new MeterListener { InstrumentPublished = (instrument, _) => instruments.Add(instrument) };
        listener.Start();
        var metrics = new GatewayMetrics(services.GetRequiredService<IMeterFactory>());
        metrics.ObserveStore(static () => true);
        metrics.ObserveDevices(static () => 0);
        metrics.ObserveDraining(static () => false);
        metrics.ObserveVisitors(static () => 0);
        metrics.ObserveMemory(static () => 0, static () => false);
        metrics.ObserveTraffic(static () => (0, 0));
        _ = new CertificateMetrics(services.GetRequiredService<IMeterFactory>(), null!, null!, TimeProvider.System);

        var own = instruments.Where(static instrument => instrument.Meter.Name == GatewayMetrics.MeterName).DistinctBy(static instrument => instrument.Name).ToList();
        Assert.True(own.Count > 18);
        foreach (var instrument in own)
        {
            Assert.Matches($@"\| `{Regex.Escape(instrument.Name)}` \| [a-z]+, `{Regex.Escape(instrument.Unit!)}` \|", page);
        }
    }

    [GeneratedRegex(@"\]\((?<target>[^)\s]+)\)", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Link();

    [GeneratedRegex(@"^#+ (?<text>.*)$", RegexOptions.Multiline, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Heading();

    [GeneratedRegex(@"[^a-z0-9 _-]", RegexOptions.None, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Mark();
}
