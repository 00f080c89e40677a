using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Certificates;

/// <summary>
/// An ACME server of the test's own: Debian's pebble, on free ports of loopback. It refuses a fifth of all nonces, and every
/// name has to be validated anew.
/// </summary>
internal sealed class PebbleServer : IAsyncDisposable
{
    private readonly DirectoryInfo _folder;
    private readonly int _management;
    private readonly ChildProcess? _names;

    private PebbleServer(DirectoryInfo folder, int port, int management, ChildProcess process, ChildProcess? names) =>
        (_folder, Port, _management, Process, _names) = (folder, port, management, process, names);

    public int Port { get; }

    public ChildProcess Process { get; }

    public string Directory => $"https://localhost:{Port}/dir";

    /// <summary>The authority of the server's own certificate.</summary>
    public string CaFile => Path.Combine(_folder.FullName, "ca.pem");

    /// <summary>How many orders it has been given.</summary>
    public int Orders => Process.Output.Split('\n').Count(static line => line.Contains("Added order", StringComparison.Ordinal));

    /// <summary>How many requests it has been sent.</summary>
    public int Requests => Process.Output.Split('\n').Count(static line => line.Contains("calling handler()", StringComparison.Ordinal));

    /// <param name="dns">Whom it asks for TXT records: a port of loopback. Null: a server for which every host is this machine.</param>
    /// <param name="http">The port that HTTP-01 is checked on.</param>
    /// <param name="tls">The port that TLS-ALPN-01 is checked on.</param>
    /// <param name="more">More settings of pebble.</param>
    /// <param name="port">Where it listens; null for a free port.</param>
    /// <param name="badNonces">How many of a hundred nonces it refuses.</param>
    public static async Task<PebbleServer> StartAsync(int? dns = null, int http = 1, int tls = 1, Dictionary<string, object>? more = null, int badNonces = 20, int? port = null)
    {
        var folder = System.IO.Directory.CreateTempSubdirectory("gateway-pebble-");
        var management = RedisServer.FreePort();
        port ??= RedisServer.FreePort();
        var path = (string name) => Path.Combine(folder.FullName, name);
        WriteCertificate(path);
        var settings = new Dictionary<string, object>
        {
            ["listenAddress"] = $"127.0.0.1:{port}",
            ["managementListenAddress"] = $"127.0.0.1:{management}",
            ["certificate"] = path("tls.crt"),
            ["privateKey"] = path("tls.key"),
            ["httpPort"] = http,
            ["tlsPort"] = tls,
            ["ocspResponderURL"] = "",
            ["externalAccountBindingRequired"] = false,
            ["certificateValidityPeriod"] = 518400,
        };
        foreach (var (key, value) in more ?? [])
        {
            settings[key] = value;
        }

        await File.WriteAllTextAsync(path("pebble.json"), JsonSerializer.Serialize(new { pebble = settings }));

        ChildProcess? names = null;
        if (dns is null)
        {
            dns = RedisServer.FreePort();
            names = ChildProcess.Start(
                "pebble-challtestsrv",
                ["-dns01", $"127.0.0.1:{dns}", "-management", $"127.0.0.1:{RedisServer.FreePort()}", "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        }

        var process = ChildProcess.Start(
            "pebble", ["-config", path("pebble.json"), "-dnsserver", $"127.0.0.1:{dns}"],
            new() { ["PEBBLE_VA_NOSLEEP"] = "1", ["PEBBLE_WFE_NONCEREJECT"] = $"{badNonces}", ["PEBBLE_AUTHZREUSE"] = "0" });
        await process.WaitForOutputAsync("ACME directory available");
        return new PebbleServer(folder, port.Value, management, process, names);
    }

    /// <summary>The settings of a gateway that orders here.</summary>
    public Dictionary<string, string?> Settings(string challenge, string prefix = "Certificates:Acme:") => new()
    {
        ["Certificates:Source"] = "Acme",
        ["Certificates:File"] = "",
        ["Certificates:KeyFile"] = "",
        ["Certificates:EncryptionKey"] = EncryptionKey,
        [$"{prefix}Directories:0:Url"] = Directory,
        [$"{prefix}CaFile"] = CaFile,
        [$"{prefix}AcceptTerms"] = "true",
        [$"{prefix}Challenge"] = challenge,
        [$"{prefix}PollInterval"] = "00:00:00.200",
        [$"{prefix}RetryDelay"] = "00:00:00.500",
    };

    /// <summary>One for all gateways under test.</summary>
    public static string EncryptionKey { get; } = Convert.ToBase64String(RandomNumberGenerator.GetBytes(32));

    /// <summary>The root of what it issues.</summary>
    public async Task<X509Certificate2> RootAsync()
    {
        using var handler = new SocketsHttpHandler { SslOptions = Trust(X509Certificate2.CreateFromPem(await File.ReadAllTextAsync(CaFile))) };
        using var client = new HttpClient(handler);
        return X509Certificate2.CreateFromPem(await client.GetStringAsync(new Uri($"https://127.0.0.1:{_management}/roots/0")));
    }

    /// <summary>The state of a certificate here: Valid, Revoked.</summary>
    public async Task<string?> StatusAsync(X509Certificate2 certificate)
    {
        using var handler = new SocketsHttpHandler { SslOptions = Trust(X509Certificate2.CreateFromPem(await File.ReadAllTextAsync(CaFile))) };
        using var client = new HttpClient(handler);
        var text = await client.GetStringAsync(new Uri($"https://127.0.0.1:{_management}/cert-status-by-serial/{certificate.SerialNumber.TrimStart('0').ToLowerInvariant()}"));
        return JsonDocument.Parse(text).RootElement.GetProperty("Status").GetString();
    }

    public static System.Net.Security.SslClientAuthenticationOptions Trust(X509Certificate2 root)
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(root);
        return new() { CertificateChainPolicy = policy };
    }

    public async ValueTask DisposeAsync()
    {
        await Process.DisposeAsync();
        if (_names is not null)
        {
            await _names.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    private static void WriteCertificate(Func<string, string> path)
    {
        var now = DateTimeOffset.UtcNow;
        using var caKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var caRequest = new CertificateRequest("CN=Pebble's own CA", caKey, HashAlgorithmName.SHA256);
        caRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var ca = caRequest.CreateSelfSigned(now.AddDays(-1), now.AddDays(30));
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.Create(ca, now.AddDays(-1), now.AddDays(20), RandomNumberGenerator.GetBytes(8));
        File.WriteAllText(path("ca.pem"), ca.ExportCertificatePem());
        File.WriteAllText(path("tls.crt"), certificate.ExportCertificatePem());
        File.WriteAllText(path("tls.key"), key.ExportPkcs8PrivateKeyPem());
    }
}
