using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Gateway.Certificates.Shared;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Certificates;

/// <summary>Private keys: what kind they are, and what they are encrypted with.</summary>
public sealed class KeyTests : IDisposable
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-keys-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task The_encryption_key_is_changed_while_nodes_run_and_nothing_is_ordered_anew()
    {
        var (dns, old, next) = (RedisServer.FreePort(), KeyProtector.NewKey(), KeyProtector.NewKey());
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:EncryptionKey", old));
        string thumbprint;
        await using (var before = await TestGateway.StartAsync(settings))
        {
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(before.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
            thumbprint = (await Handshake.TryAsync(before.HttpsPort, AnyDevice))!.Thumbprint;
        }

        // Every node knows both; one of them writes with the old one still, the other, whose keys are in a file, with the new one.
        var file = Path.Combine(_folder.FullName, "keys");
        await File.WriteAllTextAsync(file, $"{next}\n{old}\n");
        var both = settings.With(("Certificates:EncryptionKey", ""), ("Certificates:EncryptionKeyFile", file));
        await using var second = await TestGateway.StartAsync(both.With(("Certificates:Acme:Dns:Listen", $"127.0.0.1:{RedisServer.FreePort()}")), LogOf.Kept);
        await using (var first = await TestGateway.StartAsync(settings.With(("Certificates:EncryptionKey", $"{old} {next}")), LogOf.Kept))
        {
            foreach (var gateway in new[] { first, second })
            {
                await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))?.Thumbprint == thumbprint, "the same one is served");
            }
        }

        var (status, output) = await ReencryptAsync(both);
        Assert.True(status == 0, output);
        Assert.Contains("encrypted anew: cert:{gateway.localhost}\n", output, StringComparison.Ordinal);
        Assert.Contains("2 encrypted anew, 0 with the newest key before, 0 that cannot be decrypted\n", output, StringComparison.Ordinal);
        Assert.Equal((0, "0 encrypted anew, 2 with the newest key before, 0 that cannot be decrypted\n"), await ReencryptAsync(both));

        // Without the old one everything goes on, with the account as well.
        await using var after = await TestGateway.StartAsync(settings.With(("Certificates:EncryptionKey", next)), LogOf.Kept);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(after.HttpsPort, AnyDevice))?.Thumbprint == thumbprint, "the same one is served");
        Assert.Equal(1, pebble.Orders);
        await after.Services.GetRequiredService<CertificateStore>().HurryAsync(TestGateway.Domain);
        foreach (var gateway in new[] { second, after })
        {
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != thumbprint, "the next one is served, whoever has ordered it");
            Assert.DoesNotContain(gateway.Log(), static line => line.Contains("cannot be used", StringComparison.Ordinal) || line.StartsWith("Registered at", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task What_none_of_the_keys_decrypts_is_named_and_stays()
    {
        var (dns, lost) = (RedisServer.FreePort(), KeyProtector.NewKey());
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:EncryptionKey", lost));
        await using var gateway = await TestGateway.StartAsync(settings);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");

        var (status, output) = await ReencryptAsync(settings.With(("Certificates:EncryptionKey", $"{KeyProtector.NewKey()},{KeyProtector.NewKey()}")));

        Assert.Equal(1, status);
        Assert.Contains("gateway: cert:{gateway.localhost} stays as it is: it is damaged, or was encrypted with another Certificates:EncryptionKey\n", output, StringComparison.Ordinal);
        Assert.Contains("0 encrypted anew, 0 with the newest key before, 2 that cannot be decrypted\n", output, StringComparison.Ordinal);
        Assert.Equal(0, (await ReencryptAsync(settings)).Status);
    }

    [Theory]
    [InlineData("EcdsaP384", "EC", 384)]
    [InlineData("Rsa2048", "RSA", 2048)]
    public async Task The_kind_of_key_is_the_operators_choice_and_RSA_keeps_forward_secrecy(string kind, string algorithm, int bits)
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:KeyType", kind)));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        using var certificate = (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!;

        Assert.Equal((algorithm, bits), algorithm == "RSA" ? ("RSA", certificate.GetRSAPublicKey()?.KeySize ?? 0) : ("EC", certificate.GetECDsaPublicKey()?.KeySize ?? 0));
        Assert.Equal(algorithm == "RSA", await SpeaksAsync(gateway, TlsCipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256));
        Assert.False(await SpeaksAsync(gateway, TlsCipherSuite.TLS_RSA_WITH_AES_128_GCM_SHA256));
        Assert.False(await SpeaksAsync(gateway, TlsCipherSuite.TLS_RSA_WITH_AES_128_CBC_SHA));
    }

    private static async Task<bool> SpeaksAsync(TestGateway gateway, TlsCipherSuite suite)
    {
        try
        {
#pragma warning disable CA1416 // The tests run where OpenSSL is.
            await using var stream = await Handshake.OpenAsync(gateway.HttpsPort, new SslClientAuthenticationOptions
            {
                TargetHost = AnyDevice, EnabledSslProtocols = SslProtocols.Tls12, CipherSuitesPolicy = new CipherSuitesPolicy([suite]),
                RemoteCertificateValidationCallback = static (_, certificate, _, _) => certificate is not null,
            });
#pragma warning restore CA1416
            return stream.NegotiatedCipherSuite == suite;
        }
        catch (Exception exception) when (exception is AuthenticationException or IOException)
        {
            return false;
        }
    }

    private static async Task<(int Status, string Output)> ReencryptAsync(Dictionary<string, string?> settings)
    {
        await using var command = ChildProcess.StartOwn(
            "gateway", ["certificate", "reencrypt", .. settings.Where(static pair => pair.Value is { Length: > 0 }).SelectMany(static pair => new[] { "--set", $"{pair.Key}={pair.Value}" })]);
        return (await command.WaitForExitAsync(), command.Output);
    }
}
