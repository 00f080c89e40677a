using System.Diagnostics;
using System.Globalization;
using System.Net.Security;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Testing;

namespace Gateway.Tests.Certificates;

/// <summary>Certificates that others leave as files.</summary>
public sealed class FilesTests : IDisposable
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;

    private static readonly string[] Wildcard = ["*." + TestGateway.Domain];

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-files-");
    private readonly TestPki _pki = new();

    public void Dispose()
    {
        _pki.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_mounted_secret_is_swapped_as_Kubernetes_does_it_and_open_streams_live()
    {
        var files = Path.Combine(_folder.FullName, "tls");
        Directory.CreateDirectory(files);
        await MountAsync(files, 1);
        File.CreateSymbolicLink(Path.Combine(files, "tls.crt"), "..data/tls.crt");
        File.CreateSymbolicLink(Path.Combine(files, "tls.key"), "..data/tls.key");
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Certificates:File"] = Path.Combine(files, "tls.crt"), ["Certificates:KeyFile"] = Path.Combine(files, "tls.key"),
        });
        var before = await Handshake.TryAsync(gateway.HttpsPort, AnyDevice);
        await using var stream = await RawTls.OpenAsync(gateway.HttpsPort, AnyDevice);

        await MountAsync(files, 2);
        var swapped = Stopwatch.GetTimestamp();
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != before!.Thumbprint, "the new certificate is served");
        TestContext.Current.TestOutputHelper?.WriteLine($"served {Stopwatch.GetElapsedTime(swapped).TotalSeconds:0.00} s after the swap");

        // The connection from before still carries requests.
        await stream.SendAsync($"GET / HTTP/1.1\r\nHost: {AnyDevice}\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 404 ", await stream.ReadHeadAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Half_of_a_pair_leaves_the_one_before_in_place_and_is_said_once()
    {
        var (certificate, key) = _pki.Issue(Wildcard);
        var (file, keyFile) = (Path.Combine(_folder.FullName, "tls.crt"), Path.Combine(_folder.FullName, "tls.key"));
        await File.WriteAllTextAsync(file, certificate);
        await File.WriteAllTextAsync(keyFile, key);
        await using var gateway = await TestGateway.StartAsync(
            new() { ["Certificates:File"] = file, ["Certificates:KeyFile"] = keyFile, ["Certificates:ReloadInterval"] = "00:00:00.100" },
            static builder => builder.Logging.AddFakeLogging());
        var before = await Handshake.TryAsync(gateway.HttpsPort, AnyDevice);
        var log = gateway.Services.GetFakeLogCollector();

        var (next, nextKey) = _pki.Issue(Wildcard);
        await File.WriteAllTextAsync(file, next);
        await Eventually.TrueAsync(() => log.GetSnapshot().Any(IsComplaint), "the operator is told");
        Assert.Equal(before!.Thumbprint, (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint);

        await File.WriteAllTextAsync(keyFile, nextKey);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != before.Thumbprint, "the whole pair is served");
        Assert.Single(log.GetSnapshot(), IsComplaint);

        static bool IsComplaint(FakeLogRecord record) => record.Message.Contains("cannot be used, the one before it stays", StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_folder_of_pairs_is_served_by_name_and_follows_what_comes_and_goes()
    {
        Write("a.example.crt", "a.example.key", "a.example");
        Write("b/fullchain.pem", "b/privkey.pem", "*.b.example");
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Certificates:File"] = "", ["Certificates:KeyFile"] = "", ["Certificates:Directory"] = _folder.FullName, ["Certificates:ReloadInterval"] = "00:00:00.100",
        });

        Assert.True((await Handshake.TryAsync(gateway.HttpsPort, "a.example")).IsFor("a.example"));
        Assert.True((await Handshake.TryAsync(gateway.HttpsPort, "X.b.Example")).IsFor("x.b.example"));
        Assert.False((await Handshake.TryAsync(gateway.HttpsPort, "x.y.b.example")).IsFor("x.y.b.example"));
        Assert.NotNull(await Handshake.TryAsync(gateway.HttpsPort, ""));

        Write("c/tls.crt", "c/tls.key", "c.example");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, "c.example")).IsFor("c.example"), "the third is served");
        Directory.Delete(Path.Combine(_folder.FullName, "b"), recursive: true);
        await Eventually.TrueAsync(async () => !(await Handshake.TryAsync(gateway.HttpsPort, "x.b.example")).IsFor("x.b.example"), "the second is gone");
    }

    [Fact]
    public async Task A_file_that_is_away_for_a_moment_is_not_gone()
    {
        Write("a.example.crt", "a.example.key", "a.example");
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Certificates:File"] = "", ["Certificates:KeyFile"] = "", ["Certificates:Directory"] = _folder.FullName, ["Certificates:ReloadInterval"] = "00:00:02",
        });
        var before = await Handshake.TryAsync(gateway.HttpsPort, "a.example");

        // Half of the pair is away while the gateway looks, which the other one shows.
        File.Delete(Path.Combine(_folder.FullName, "a.example.key"));
        Write("b.example.crt", "b.example.key", "b.example");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, "b.example")).IsFor("b.example"), "the gateway has looked");
        Assert.Equal(before!.Thumbprint, (await Handshake.TryAsync(gateway.HttpsPort, "a.example"))?.Thumbprint);

        Write("a.example.crt", "a.example.key", "a.example");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, "a.example"))!.Thumbprint != before.Thumbprint, "the next one is served");
    }

    [Fact]
    public async Task What_certbot_leaves_is_served_and_so_is_its_renewal()
    {
        var port = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(http: port, badNonces: 0); // certbot 2.1 stumbles over them
        string[] common = ["-n", "--config-dir", Path.Combine(_folder.FullName, "etc"), "--work-dir", Path.Combine(_folder.FullName, "work"), "--logs-dir", Path.Combine(_folder.FullName, "logs"), "--server", pebble.Directory];
        string[] order = ["certonly", "--standalone", "--http-01-port", $"{port}", "--http-01-address", "127.0.0.1", "-d", AnyDevice, "--agree-tos", "--register-unsafely-without-email", .. common];
        await RunAsync("certbot", order, new() { ["REQUESTS_CA_BUNDLE"] = pebble.CaFile });
        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Certificates:File"] = "", ["Certificates:KeyFile"] = "", ["Certificates:Directory"] = Path.Combine(_folder.FullName, "etc/live"),
        });
        var first = await Handshake.TryAsync(gateway.HttpsPort, AnyDevice);
        Assert.True(first.IsFor(AnyDevice));

        await RunAsync("certbot", [.. order, "--force-renewal"], new() { ["REQUESTS_CA_BUNDLE"] = pebble.CaFile });

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != first!.Thumbprint, "the renewed certificate is served");
    }

    [Fact]
    public async Task What_lego_leaves_is_served()
    {
        var port = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(http: port);
        await RunAsync(
            "lego",
            ["--server", pebble.Directory, "--path", _folder.FullName, "--email", "ops@example.com", "--accept-tos", "--http", "--http.port", $"127.0.0.1:{port}", "--domains", AnyDevice, "run"],
            new() { ["LEGO_CA_CERTIFICATES"] = pebble.CaFile });

        await using var gateway = await TestGateway.StartAsync(new()
        {
            ["Certificates:File"] = "", ["Certificates:KeyFile"] = "", ["Certificates:Directory"] = Path.Combine(_folder.FullName, "certificates"),
        });

        Assert.True((await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice));
    }

    private static async Task RunAsync(string program, string[] arguments, Dictionary<string, string?> environment)
    {
        await using var process = ChildProcess.Start(program, arguments, environment);
        Assert.True(await process.WaitForExitAsync() == 0, process.Output);
    }

    private void Write(string file, string keyFile, string name)
    {
        var (certificate, key) = _pki.Issue([name]);
        Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(_folder.FullName, file))!);
        File.WriteAllText(Path.Combine(_folder.FullName, keyFile), key);
        File.WriteAllText(Path.Combine(_folder.FullName, file), certificate);
    }

    // A new folder, and "..data" turned to it in one step.
    private async Task MountAsync(string files, int version)
    {
        var data = Path.Combine(files, string.Create(CultureInfo.InvariantCulture, $"..{version}"));
        Directory.CreateDirectory(data);
        var (certificate, key) = _pki.Issue(Wildcard);
        File.WriteAllText(Path.Combine(data, "tls.crt"), certificate);
        File.WriteAllText(Path.Combine(data, "tls.key"), key);
        File.CreateSymbolicLink(Path.Combine(files, "..data_tmp"), Path.GetFileName(data));
        await RunAsync("mv", ["-T", Path.Combine(files, "..data_tmp"), Path.Combine(files, "..data")], []);
    }
}
