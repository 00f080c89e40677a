using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Gateway.Tunnels;
using Tunnel.Protocol;

namespace Gateway.Tests.Certificates;

/// <summary>Devices' certificates that their authority has revoked.</summary>
public sealed class RevocationTests : IDisposable
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    private static readonly Uri Nowhere = new("http://127.0.0.1:1");

    private readonly DeviceAuthority _authority = new();
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-crl-");

    public void Dispose()
    {
        _authority.Dispose();
        _folder.Delete(recursive: true);
    }

    private Task<TestGateway> StartAsync() =>
        TestGateway.StartAsync(new() { ["Tunnels:ClientCaFile"] = _authority.CaFile, ["Tunnels:ClientCrlFile"] = _authority.CrlFile }, LogOf.Kept);

    private (string Certificate, string Key) Issue(TestDevice device) => _authority.Pki.Issue([$"{device.Uuid}"], ClientAuthentication);

    [Fact]
    public async Task A_certificate_that_is_revoked_loses_its_tunnel_and_gets_no_other_one_while_the_others_go_on()
    {
        _authority.Publish(_authority.Pki.Revoke([]));
        await using var gateway = await StartAsync();
        var (stolen, honest) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        var (stolenPair, honestPair) = (Issue(stolen), Issue(honest));
        await using var thief = _authority.StartAgent(gateway, stolen, stolenPair, Nowhere);
        await using var owner = _authority.StartAgent(gateway, honest, honestPair, Nowhere);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(stolen.Uuid) is not null && gateway.Tunnels.Find(honest.Uuid) is not null, "both tunnels are up");
        var tunnel = gateway.Tunnels.Find(honest.Uuid)!;

        _authority.Publish(_authority.Pki.Revoke([stolenPair.Certificate]));

        await gateway.SaysAsync("Devices' certificates: 1 authorities, 1 revoked certificates");
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(stolen.Uuid) is null, "its tunnel has ended");
        await thief.WaitForOutputAsync("(401)");
        await gateway.SaysAsync($"A device showed a certificate of {stolen.Uuid} that is revoked");
        Assert.Null(gateway.Tunnels.Find(stolen.Uuid));
        Assert.Same(tunnel, gateway.Tunnels.Find(honest.Uuid));

        // A new certificate of the same device is another one.
        await using var again = _authority.StartAgent(gateway, stolen, Issue(stolen), Nowhere);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(stolen.Uuid) is not null, "with a new certificate the tunnel is up");
    }

    [Fact]
    public async Task A_list_that_cannot_be_used_is_named_and_the_one_before_stays()
    {
        using var stranger = new TestPki();
        var uuid = DeviceUuid.New();
        var pair = _authority.Pki.Issue([$"{uuid}"], ClientAuthentication);
        _authority.Publish(_authority.Pki.Revoke([pair.Certificate]));
        await using var gateway = await StartAsync();
        var device = await gateway.AddDeviceAsync(uuid: uuid);

        foreach (var (list, said) in new[]
        {
            ("no list at all", "it holds no revocation list"),
            (_authority.Pki.Revoke([]).Replace("MII", "MIA", StringComparison.Ordinal).Replace("MIG", "MIA", StringComparison.Ordinal).Replace("MIH", "MIA", StringComparison.Ordinal), "it is damaged"),
            (stranger.Revoke([]), "is not signed by one of Tunnels:ClientCaFile"),
        })
        {
            _authority.Publish(list);
            await gateway.SaysAsync($"What was read before of the devices' authorities stays in use: Tunnels:ClientCrlFile is \"{_authority.CrlFile}\": ", said);
        }

        File.Delete(_authority.CrlFile);
        await gateway.SaysAsync("Tunnels:ClientCrlFile is", "it cannot be read");
        await using var agent = _authority.StartAgent(gateway, device, pair, Nowhere);
        await agent.WaitForOutputAsync("(401)");
    }

    [Fact]
    public async Task A_list_that_should_have_been_replaced_stays_in_use_and_the_operator_is_told()
    {
        var uuid = DeviceUuid.New();
        var pair = _authority.Pki.Issue([$"{uuid}"], ClientAuthentication);
        _authority.Publish(_authority.Pki.Revoke([pair.Certificate], DateTimeOffset.UtcNow.AddDays(-1)));
        await using var gateway = await StartAsync();
        var (revoked, other) = (await gateway.AddDeviceAsync(uuid: uuid), await gateway.AddDeviceAsync());

        await gateway.SaysAsync($"The revocation list {_authority.CrlFile} should have been replaced at ");
        await using var agent = _authority.StartAgent(gateway, revoked, pair, Nowhere);
        await agent.WaitForOutputAsync("(401)");
        await using var second = _authority.StartAgent(gateway, other, Issue(other), Nowhere);
        await Eventually.TrueAsync(() => gateway.Tunnels.Find(other.Uuid) is not null, "who is not revoked is not locked out");
    }

    [Theory]
    [InlineData("rsa:2048", "PEM")]
    [InlineData("rsa:2048", "DER")]
    [InlineData("ec:P-384", "DER")]
    public async Task What_openssl_writes_is_read(string key, string form)
    {
        var options = await MakeAuthorityAsync(key, form, "crlnumber_only");

        var authorities = DeviceAuthorities.Read(options);

        Assert.Equal((1, 1), (authorities.Count, authorities.RevokedCount));
        Assert.NotNull(authorities.NextUpdate);
        using var good = X509Certificate2.CreateFromPem(await File.ReadAllTextAsync(Path.Combine(_folder.FullName, "good.crt")));
        using var bad = X509Certificate2.CreateFromPem(await File.ReadAllTextAsync(Path.Combine(_folder.FullName, "bad.crt")));
        Assert.False(authorities.IsRevoked(authorities.Prove(good, DateTimeOffset.UtcNow)!));
        Assert.True(authorities.IsRevoked(authorities.Prove(bad, DateTimeOffset.UtcNow)!));
        Assert.Same(authorities, DeviceAuthorities.Read(options, authorities));
    }

    [Fact]
    public async Task A_list_of_only_a_part_is_refused()
    {
        var options = await MakeAuthorityAsync("ec:P-256", "PEM", "part");

        var exception = Assert.Throws<CryptographicException>(() => DeviceAuthorities.Read(options));

        Assert.Contains("it is a delta, an indirect list, or only a part (critical extension 2.5.29.28): give the authority's complete list.", exception.Message, StringComparison.Ordinal);
    }

    // An authority as people make it by hand: two certificates, one of them revoked.
    private async Task<TunnelOptions> MakeAuthorityAsync(string key, string form, string extensions)
    {
        string PathOf(string name) => Path.Combine(_folder.FullName, name);
        await File.WriteAllTextAsync(PathOf("index.txt"), "");
        await File.WriteAllTextAsync(PathOf("crlnumber"), "01\n");
        await File.WriteAllTextAsync(PathOf("openssl.cnf"),
            $"""
            [ca]
            default_ca = devices
            [devices]
            dir = {_folder.FullName}
            database = $dir/index.txt
            crlnumber = $dir/crlnumber
            new_certs_dir = $dir
            certificate = $dir/ca.crt
            private_key = $dir/ca.key
            default_md = sha384
            default_days = 30
            default_crl_days = 7
            rand_serial = yes
            policy = any
            x509_extensions = device
            crl_extensions = {extensions}
            [any]
            commonName = supplied
            [device]
            extendedKeyUsage = clientAuth
            [crlnumber_only]
            authorityKeyIdentifier = keyid
            [part]
            issuingDistributionPoint = critical, @users
            [users]
            onlyuser = TRUE
            [req]
            distinguished_name = subject
            [subject]
            [root]
            basicConstraints = critical, CA:TRUE
            subjectKeyIdentifier = hash
            """);
        string[] newKey = key.StartsWith("ec:", StringComparison.Ordinal) ? ["-newkey", "ec", "-pkeyopt", $"ec_paramgen_curve:{key[3..]}"] : ["-newkey", key];
        await OpensslAsync(["req", "-x509", "-config", PathOf("openssl.cnf"), "-extensions", "root", .. newKey, "-nodes", "-subj", "/CN=Devices", "-days", "30", "-keyout", PathOf("ca.key"), "-out", PathOf("ca.crt")]);
        foreach (var name in new[] { "good", "bad" })
        {
            await OpensslAsync(["req", "-config", PathOf("openssl.cnf"), .. newKey, "-nodes", "-subj", $"/CN={DeviceUuid.New()}", "-keyout", PathOf($"{name}.key"), "-out", PathOf($"{name}.csr")]);
            await OpensslAsync(["ca", "-config", PathOf("openssl.cnf"), "-batch", "-notext", "-in", PathOf($"{name}.csr"), "-out", PathOf($"{name}.crt")]);
        }

        await OpensslAsync(["ca", "-config", PathOf("openssl.cnf"), "-revoke", PathOf("bad.crt"), "-crl_reason", "keyCompromise"]);
        await OpensslAsync(["ca", "-config", PathOf("openssl.cnf"), "-gencrl", "-out", PathOf("list.pem")]);
        await OpensslAsync(["crl", "-in", PathOf("list.pem"), "-outform", form, "-out", PathOf("list")]);
        return new TunnelOptions { ClientCaFile = PathOf("ca.crt"), ClientCrlFile = PathOf("list") };
    }

    private static async Task OpensslAsync(string[] arguments)
    {
        await using var openssl = ChildProcess.Start("openssl", arguments);
        Assert.True(await openssl.WaitForExitAsync() == 0, openssl.Output);
    }
}
