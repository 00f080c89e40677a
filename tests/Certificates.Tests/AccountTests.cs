using Gateway.Tests.Harness;

namespace Gateway.Tests.Certificates;

/// <summary>Accounts, profiles, and what is wrong with a configuration.</summary>
public sealed class AccountTests
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;
    private const string MacKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

    [Fact]
    public async Task An_account_is_bound_to_a_customer_where_the_authority_asks_for_it()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(
            dns, more: new() { ["externalAccountBindingRequired"] = true, ["externalAccountMACKeys"] = new Dictionary<string, string> { ["kid-1"] = MacKey } });
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"));
        await using (var without = await TestGateway.StartAsync(settings, LogOf.Kept))
        {
            await without.SaysAsync("No certificate for gateway.localhost, attempt 1", "give KeyId and MacKey");
        }

        await redis.FlushAsync();
        await using var gateway = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Directories:0:KeyId", "kid-1"), ("Certificates:Acme:Directories:0:MacKey", MacKey)));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
    }

    [Fact]
    public async Task A_profile_that_the_server_does_not_have_is_named_with_those_that_it_has()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var front = await DirectoryInFront.StartAsync(
            pebble,
            static (directory, _) => directory["meta"]!["profiles"] = new System.Text.Json.Nodes.JsonObject { ["classic"] = "as ever", ["shortlived"] = "six days" },
            static _ => Task.CompletedTask);
        var folder = Directory.CreateTempSubdirectory("gateway-profile-");
        var ca = Path.Combine(folder.FullName, "ca.pem");
        await File.WriteAllTextAsync(ca, front.Authority + "\n" + await File.ReadAllTextAsync(pebble.CaFile));
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:Directories:0:Url", front.Url), ("Certificates:Acme:CaFile", ca));
        await using (var wrong = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Directories:0:Profile", "eternal")), LogOf.Kept))
        {
            await wrong.SaysAsync("No certificate for gateway.localhost", "has no profile \"eternal\"; it has classic, shortlived");
        }

        await redis.FlushAsync();
        await using var gateway = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Directories:0:Profile", "shortlived")));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        folder.Delete(recursive: true);
    }

    public static TheoryData<string[], string> Wrong => new()
    {
        { [], "Certificates:File is missing, and Listen:Https is \"127.0.0.1:0\": give a PEM file, set Certificates:Source to Acme or SelfSigned, or leave Listen:Https empty." },
        { ["Certificates:Source=Acme"], "Certificates:Acme:AcceptTerms is false: read the terms of service of https://acme-v02.api.letsencrypt.org/directory" },
        { ["Certificates:Source=Acme", "Certificates:Acme:AcceptTerms=true", "Storage:Redis=127.0.0.1:1"], "Certificates:EncryptionKey is missing: private keys are kept in Redis, and only encrypted." },
        { ["Certificates:Source=Acme", "Certificates:Acme:AcceptTerms=true", "Certificates:EncryptionKey=c2hvcnQ="], "is no base64 of 32 bytes, or several of them separated by blanks: \"gateway certificate new-encryption-key\" makes one." },
        { ["Certificates:Source=Acme", "Certificates:Acme:AcceptTerms=true", "Certificates:EncryptionKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= c2hvcnQ="], "is no base64 of 32 bytes, or several of them separated by blanks: " },
        { ["Certificates:Source=Acme", "Certificates:Acme:AcceptTerms=true", "Certificates:Acme:Challenge=Http", "Certificates:Acme:Names:0=*.resindevice.io"], "Certificates:Acme:Names:0 is \"*.resindevice.io\", and Certificates:Acme:Challenge is Http: wildcards are only issued by Dns." },
        { ["Certificates:Source=Acme", "Certificates:Acme:AcceptTerms=true", "Certificates:Acme:Directories:0:Url=http://ca"], "Certificates:Acme:Directories:0:Url is \"http://ca\": give an https address" },
        { ["Certificates:Source=Acme", "Certificates:Acme:Directories:0:Uri=https://ca"], "Certificates:Acme:Directories:0:Uri is no setting" },
        { ["Certificates:Source=SelfSigned", "Certificates:File=x"], "Certificates:Source is SelfSigned, and files are given as well" },
        { ["Tunnels:ClientCaFile=/nowhere.pem", "Certificates:Source=SelfSigned"], "Tunnels:ClientCaFile is \"/nowhere.pem\": it cannot be read" },
        { ["Tunnels:ClientCrlFile=/etc/hostname", "Certificates:Source=SelfSigned"], "Tunnels:ClientCrlFile is \"/etc/hostname\", and Tunnels:ClientCaFile is missing: give the authorities whose list it is, or remove it." },
        { [$"Tunnels:ClientCaFile={TestCertificates.Shared.AuthorityFile}", "Tunnels:ClientCrlFile=/etc/hostname", "Certificates:Source=SelfSigned"], "Tunnels:ClientCrlFile is \"/etc/hostname\": it holds no revocation list: give PEM" },
        { ["Certificates:Source=Acme", "Certificates:Acme:KeyType=Rsa1024"], "Certificates:Acme:KeyType" },
        { ["Listen:ProxyProtocol:0=balancer", "Certificates:Source=SelfSigned"], "Listen:ProxyProtocol[0] is \"balancer\": give a network" },
        { ["Certificates:Source=Letsencrypt"], "Certificates:Source" },
    };

    [Theory]
    [MemberData(nameof(Wrong))]
    public async Task A_wrong_configuration_ends_with_78_and_a_line_that_names_the_remedy(string[] settings, string line)
    {
        await using var gateway = ChildProcess.StartOwn(
            "gateway", ["--set", "Listen:Https=127.0.0.1:0", "--set", "Listen:Http=", "--set", "Listen:Admin=", .. settings.SelectMany(static setting => new[] { "--set", setting })]);

        Assert.Equal(78, await gateway.WaitForExitAsync());
        Assert.Contains(line, gateway.Output, StringComparison.Ordinal);
    }
}
