using System.Text.Json;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Heavy.Deploy;

/// <summary>What is in the programs is known, and so is what is wrong with it.</summary>
[Collection(nameof(Alone))]
public sealed class SupplyChainTests
{
    [Theory]
    [InlineData("gateway", "gateway", "src/Gateway")]
    [InlineData("agent", "gateway-agent", "src/Tunnel/Agent")]
    public async Task A_bill_of_materials_names_every_package_that_is_locked(string program, string name, string project)
    {
        var folder = Directory.CreateTempSubdirectory("sbom-");
        await using var sbom = ChildProcess.Start(Repository.File("deploy/sbom"), [program, "--output", folder.FullName]);
        await sbom.ExitsWithinAsync(TimeSpan.FromMinutes(5));
        var file = Path.Combine(folder.FullName, $"{name}.cdx.json");
        var text = await File.ReadAllTextAsync(file);
        using var bill = JsonDocument.Parse(text);
        using var locked = JsonDocument.Parse(await File.ReadAllTextAsync(Repository.File($"{project}/packages.lock.json")));

        var components = bill.RootElement.GetProperty("components").EnumerateArray()
            .Select(static one => $"{one.GetProperty("name").GetString()} {one.GetProperty("version").GetString()}").ToHashSet(StringComparer.OrdinalIgnoreCase);
        var expected = locked.RootElement.GetProperty("dependencies").GetProperty("net10.0").EnumerateObject()
            .Where(static one => one.Value.GetProperty("type").GetString() != "Project")
            .Select(static one => $"{one.Name} {one.Value.GetProperty("resolved").GetString()}").ToList();
        Assert.NotEmpty(expected);
        Assert.Equal([], expected.Where(one => !components.Contains(one)));

        // Nothing in it tells when it was made.
        await Task.Delay(TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken);
        await using var again = ChildProcess.Start(Repository.File("deploy/sbom"), [program, "--output", folder.FullName]);
        await again.ExitsWithinAsync(TimeSpan.FromMinutes(5));
        Assert.Equal(text, await File.ReadAllTextAsync(file));
        Assert.Equal(name, bill.RootElement.GetProperty("metadata").GetProperty("component").GetProperty("name").GetString());
        folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_known_vulnerability_is_found_and_a_source_that_knows_nothing_is_said_so()
    {
        // A source of vulnerabilities (VulnerabilityInfo of NuGet's protocol), beside the packages' own.
        var qrCoder = "99.0.0";
        Uri url = null!;
        await using var source = await TestApp.StartAsync(context => context.Response.WriteAsync(context.Request.Path.Value switch
        {
            "/index.json" => $$"""{"version":"3.0.0","resources":[{"@id":"{{url}}known.json","@type":"VulnerabilityInfo/6.7.0"}]}""",
            "/known.json" => $$"""[{"@name":"base","@id":"{{url}}base-{{qrCoder}}.json","@updated":"2026-01-01T00:00:00Z"}]""",
            _ => $$"""{"newtonsoft.json":[{"severity":2,"url":"https://example.org/canary","versions":"(, 13.0.1)"}],"qrcoder":[{"severity":1,"url":"https://example.org/qrcoder","versions":"(, {{qrCoder}})"}]}""",
        }));
        url = source.Url;
        var folder = Directory.CreateTempSubdirectory("audit-");
        var config = Directory.CreateDirectory(Path.Combine(folder.FullName, "NuGet", "Config"));
        async Task<(int Status, string Output)> AuditAsync(string sources)
        {
            await File.WriteAllTextAsync(Path.Combine(config.FullName, "audit.config"), $"<configuration><auditSources><clear />{sources}</auditSources></configuration>");
            await using var audit = ChildProcess.Start(Repository.File("deploy/audit"), [], new() { ["NUGET_COMMON_APPLICATION_DATA"] = folder.FullName, ["NUGET_HTTP_CACHE_PATH"] = Path.Combine(folder.FullName, qrCoder) });
            return (await audit.ExitsWithinAsync(TimeSpan.FromMinutes(5)), audit.Output);
        }

        var found = await AuditAsync($"<add key=\"test\" value=\"{url}index.json\" allowInsecureConnections=\"true\" />");
        Assert.Contains("'QRCoder'", found.Output, StringComparison.Ordinal);
        Assert.Contains("https://example.org/qrcoder", found.Output, StringComparison.Ordinal);
        Assert.Equal(1, found.Status);

        qrCoder = "1.0.0";
        var clean = await AuditAsync($"<add key=\"test\" value=\"{url}index.json\" allowInsecureConnections=\"true\" />");
        Assert.Contains("locked packages is known", clean.Output, StringComparison.Ordinal);
        Assert.Equal(0, clean.Status);

        await source.DisposeAsync();
        qrCoder = "away";
        var nobody = await AuditAsync($"<add key=\"test\" value=\"{url}index.json\" allowInsecureConnections=\"true\" />");
        Assert.Contains("no package was looked at", nobody.Output, StringComparison.Ordinal);
        Assert.Equal(0, nobody.Status);
        folder.Delete(recursive: true);
    }
}
