using System.Text.Json;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Certificates;

/// <summary>What testssl.sh says of the edge. Takes a minute or two: only with ./test --heavy.</summary>
[Collection(nameof(Alone))]
public sealed class ScanTests
{
    // The test's authority is trusted by nobody else, publishes no revocation and no CAA record.
    private static readonly string[] OfTheCertificate = ["cert_", "DNS_CAArecord", "OCSP", "certificate_transparency"];

    [Fact]
    public async Task Nothing_is_found_above_low()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1", "takes minutes");
        await using var gateway = await TestGateway.StartAsync();
        var folder = Directory.CreateTempSubdirectory("gateway-scan-");
        var report = Path.Combine(folder.FullName, "report.json");
        await using var scan = ChildProcess.Start(
            "testssl",
            ["--quiet", "--color", "0", "--warnings", "off", "--add-ca", TestCertificates.Shared.AuthorityFile, "--ip", "127.0.0.1", "--jsonfile", report, $"x.{TestGateway.Domain}:{gateway.HttpsPort}"]);
        using var patience = new CancellationTokenSource(TimeSpan.FromMinutes(8));
        while (!scan.HasExited)
        {
            await Task.Delay(200, patience.Token);
        }

        var findings = JsonDocument.Parse(await File.ReadAllTextAsync(report)).RootElement.EnumerateArray()
            .Select(static finding => (Id: finding.GetProperty("id").GetString()!, Severity: finding.GetProperty("severity").GetString()!, Text: finding.GetProperty("finding").GetString()!))
            .ToList();
        TestContext.Current.TestOutputHelper?.WriteLine(string.Join('\n', findings.Where(static finding => finding.Severity is not ("OK" or "INFO")).Select(static finding => $"{finding.Severity} {finding.Id}: {finding.Text}")));
        Assert.Contains(findings, static finding => finding is { Id: "TLS1_3", Severity: "OK" });
        Assert.DoesNotContain(findings, static finding => finding.Severity is "MEDIUM" or "HIGH" or "CRITICAL" && !Array.Exists(OfTheCertificate, finding.Id.StartsWith));
        folder.Delete(recursive: true);
    }
}
