using System.Net;
using System.Net.Sockets;
using Gateway.Certificates.Dns;
using Gateway.Certificates.Shared;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Certificates;

/// <summary>The three who publish TXT records: the gateway's own name server, one that takes updates, and a program.</summary>
public sealed class DnsTests : IDisposable
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;
    private const string Secret = "bm90IGEgc2VjcmV0LCBvbmx5IGEgdGVzdCdzIGtleQ==";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-dns-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task The_gateways_name_server_answers_as_resolvers_want_over_UDP_and_TCP()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:Dns:Zone", "acme.example.com"), ("Certificates:Acme:Dns:ServerName", "gw1.example.com")));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the order is over");
        await gateway.Services.GetRequiredService<GatewayZones>().AddAsync(TestGateway.Domain, "one", CancellationToken.None);
        await gateway.Services.GetRequiredService<GatewayZones>().AddAsync(TestGateway.Domain, "two", CancellationToken.None);
        async Task<string> DigAsync(params string[] question)
        {
            await using var dig = ChildProcess.Start("dig", ["@127.0.0.1", "-p", $"{dns}", "+norecurse", "+tries=1", .. question]);
            Assert.True(await dig.WaitForExitAsync() == 0, dig.Output);
            return dig.Output;
        }

        foreach (var transport in new[] { "+notcp", "+tcp" })
        {
            var answer = await DigAsync($"_acme-challenge.{TestGateway.Domain}", "TXT", transport);
            Assert.Contains("flags: qr aa;", answer, StringComparison.Ordinal);
            Assert.Contains("\"one\"", answer, StringComparison.Ordinal);
            Assert.Contains("\"two\"", answer, StringComparison.Ordinal);
            Assert.Contains("EDNS: version: 0", answer, StringComparison.Ordinal);
            Assert.DoesNotContain("WARNING", answer, StringComparison.Ordinal);
        }

        // Where a CNAME leads to, in any case of letters.
        Assert.Contains("\"one\"", await DigAsync($"{TestGateway.Domain.ToUpperInvariant()}.acme.example.com", "TXT"), StringComparison.Ordinal);
        Assert.Contains("NS\tgw1.example.com.", await DigAsync("acme.example.com", "NS"), StringComparison.Ordinal);
        Assert.Contains("SOA\tgw1.example.com. hostmaster.acme.example.com.", await DigAsync("acme.example.com", "SOA"), StringComparison.Ordinal);

        // Nothing of this type, nothing of this name, nothing between, none of ours.
        Assert.Contains("status: NOERROR", await DigAsync($"_acme-challenge.{TestGateway.Domain}", "A"), StringComparison.Ordinal);
        Assert.Contains("status: NXDOMAIN", await DigAsync("other.acme.example.com", "TXT"), StringComparison.Ordinal);
        Assert.Contains("status: NOERROR", await DigAsync("localhost.acme.example.com", "A"), StringComparison.Ordinal);
        Assert.Contains("status: REFUSED", await DigAsync("example.net", "TXT"), StringComparison.Ordinal);
        Assert.Contains("status: NOTIMP", await DigAsync("+opcode=update", $"_acme-challenge.{TestGateway.Domain}", "TXT"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Garbage_does_not_stop_the_name_server()
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")));
        var responder = gateway.Services.GetRequiredService<DnsResponder>();
        var random = new Random(17);
        byte[] question = [.. new DnsWriter().U16(7).U16(0).U16(1).U16(0).U16(0).U16(0).Name($"_acme-challenge.{TestGateway.Domain}").U16((int)DnsType.Txt).U16(1).ToArray()];
        for (var i = 0; i < 20_000; i++)
        {
            var message = question.ToArray();
            for (var flips = random.Next(1, 8); flips > 0; flips--)
            {
                message[random.Next(message.Length)] = (byte)random.Next(256);
            }

            // It answers, or it does not; it does not throw.
            _ = await responder.AnswerAsync(i % 3 == 0 ? message[..random.Next(message.Length)] : message);
        }

        using var udp = new UdpClient();
        udp.Connect(IPAddress.Loopback, dns);
        for (var i = 0; i < 100; i++)
        {
            var noise = new byte[random.Next(600)];
            random.NextBytes(noise);
            await udp.SendAsync(noise);
        }

        Assert.NotNull(await responder.AnswerAsync(question));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the wildcard is issued beside all that");
    }

    [Fact]
    public async Task A_wildcard_is_issued_through_bind9_with_TSIG_and_the_records_are_gone_afterwards()
    {
        var dns = RedisServer.FreePort();
        await using var bind = await StartBindAsync(dns);
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Publisher", "DynamicUpdate"), ("Certificates:Acme:Dns:Server", $"127.0.0.1:{dns}"),
            ("Certificates:Acme:Dns:TsigName", "gateway."), ("Certificates:Acme:Dns:TsigKey", Secret), ("Certificates:Acme:Dns:PropagationDelay", "00:00:00.100"));
        await using var gateway = await TestGateway.StartAsync(settings);

        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the wildcard is served");
        await using var dig = ChildProcess.Start("dig", ["@127.0.0.1", "-p", $"{dns}", "+short", $"_acme-challenge.{TestGateway.Domain}", "TXT"]);
        Assert.Equal(0, await dig.WaitForExitAsync());
        Assert.Equal("", dig.Output.Trim());
    }

    [Theory]
    [InlineData("Certificates:Acme:Dns:TsigKey", "d3Jvbmcgc2VjcmV0IG9mIHRoZSByaWdodCBsZW5ndGg=", "BADSIG")]
    [InlineData("Certificates:Acme:Dns:TsigName", "stranger.", "BADKEY")]
    [InlineData("Certificates:Acme:Dns:UpdateZone", "example.net", "NOTAUTH: it has no such zone")]
    [InlineData("Edge:Domains:0", "other.gateway.localhost", "REFUSED")]
    [InlineData("Certificates:Acme:Dns:Server", "127.0.0.1:1", "does not take the update")]
    public async Task What_a_name_server_refuses_is_named(string key, string value, string said)
    {
        var dns = RedisServer.FreePort();
        await using var bind = await StartBindAsync(dns);
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(
            pebble.Settings("Dns").With(
                ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Publisher", "DynamicUpdate"), ("Certificates:Acme:Dns:Server", $"127.0.0.1:{dns}"),
                ("Certificates:Acme:Dns:TsigName", "gateway."), ("Certificates:Acme:Dns:TsigKey", Secret), ("Certificates:Acme:Dns:UpdateZone", "gateway.localhost")).With((key, value)),
            LogOf.Kept);

        await gateway.SaysAsync("No certificate for ", said);
    }

    [Fact]
    public async Task A_wildcard_is_issued_through_a_program_and_its_failure_is_named()
    {
        var dns = RedisServer.FreePort();
        var management = RedisServer.FreePort();
        await using var names = ChildProcess.Start(
            "pebble-challtestsrv", ["-dns01", $"127.0.0.1:{dns}", "-management", $"127.0.0.1:{management}", "-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var hook = Path.Combine(_folder.FullName, "hook");
        var broken = Path.Combine(_folder.FullName, "broken");
        await File.WriteAllTextAsync(hook, $$"""
            #!/bin/sh
            echo "$@" >> {{_folder.FullName}}/calls
            [ "$1" = cleanup ] && exit 0
            curl -s -d "{\"host\":\"$2\",\"value\":\"$3\"}" http://127.0.0.1:{{management}}/set-txt
            """);
        await File.WriteAllTextAsync(broken, "#!/bin/sh\necho no credentials for the zone >&2\nexit 4\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(hook, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            File.SetUnixFileMode(broken, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Publisher", "Command"), ("Certificates:Acme:Dns:PropagationDelay", "00:00:00.100"));
        await using (var wrong = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Dns:Command", broken)), LogOf.Kept))
        {
            await wrong.SaysAsync("No certificate for gateway.localhost", "ended with status 4: no credentials for the zone");
        }

        await redis.FlushAsync();
        await using var gateway = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Dns:Command", hook)));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the wildcard is served");
        await Eventually.TrueAsync(async () =>
        {
            var calls = await File.ReadAllTextAsync(Path.Combine(_folder.FullName, "calls"));
            return calls.Split("cleanup _acme-challenge.gateway.localhost. ").Length == calls.Split("present _acme-challenge.gateway.localhost. ").Length;
        }, "what was published is taken back");
    }

    private async Task<ChildProcess> StartBindAsync(int port)
    {
        var path = (string name) => Path.Combine(_folder.FullName, name);
        await File.WriteAllTextAsync(path("zone"), $"""
            $TTL 60
            @ IN SOA ns.{TestGateway.Domain}. hostmaster.{TestGateway.Domain}. 1 3600 600 86400 60
            @ IN NS ns.{TestGateway.Domain}.
            ns IN A 127.0.0.1

            """);
        await File.WriteAllTextAsync(path("named.conf"), $$"""
            options { directory "{{_folder.FullName}}"; listen-on port {{port}} { 127.0.0.1; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile none; dnssec-validation no; allow-transfer { none; }; };
            controls { };
            key "gateway." { algorithm hmac-sha256; secret "{{Secret}}"; };
            zone "{{TestGateway.Domain}}" { type primary; file "{{path("zone")}}"; update-policy { grant gateway. name _acme-challenge.{{TestGateway.Domain}}. TXT; }; };
            """);
        var bind = ChildProcess.Start("named", ["-g", "-c", path("named.conf")]);
        await bind.WaitForOutputAsync("running");
        return bind;
    }
}
