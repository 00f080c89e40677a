using System.Globalization;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using StackExchange.Redis;

namespace Gateway.Tests.Certificates;

/// <summary>Servers, clocks, stores and clients that mean harm, or behave as if.</summary>
public sealed class HostileTests : IDisposable
{
    private const string AnyDevice = "0123456789abcdef0123456789abcdef." + TestGateway.Domain;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-hostile-");

    public void Dispose() => _folder.Delete(recursive: true);

    private string CaFile(params string[] authorities)
    {
        var path = Path.Combine(_folder.FullName, $"{Guid.NewGuid():N}.pem");
        File.WriteAllText(path, string.Join('\n', authorities));
        return path;
    }

    public static TheoryData<string, string> Moods => new()
    {
        { "500", "answered 500" },
        { "429", "answered 429" },
        { "garbage", "something that is no ACME" },
        { "empty", "something that is no ACME" },
        { "endless", "cannot be asked" },
        { "hangs", "did not answer within 0.5 s" },
        { "hangs up", "cannot be asked" },
    };

    [Theory]
    [MemberData(nameof(Moods))]
    public async Task A_bad_directory_is_named_left_alone_for_a_while_and_the_next_one_is_asked(string mood, string said)
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var bad = await DirectoryInFront.StartAsync(context => AnswerAsync(context, mood));
        await using var redis = await RedisServer.StartAsync();
        var ca = CaFile(bad.Authority, await File.ReadAllTextAsync(pebble.CaFile));
        var settings = pebble.Settings("Dns").With(
            ("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:CaFile", ca), ("Certificates:Acme:RequestTimeout", "00:00:00.500"));

        // Alone it is asked again and again, ever more rarely.
        await using (var alone = await TestGateway.StartAsync(settings.With(("Certificates:Acme:Directories:0:Url", bad.Url)), LogOf.Kept))
        {
            await alone.SaysAsync("No certificate for gateway.localhost, attempt 1", said);
            if (mood == "429")
            {
                Assert.Contains("next one in 01:00:00", await alone.SaysAsync("No certificate for"), StringComparison.Ordinal);
            }
            else
            {
                await alone.SaysAsync("No certificate for gateway.localhost, attempt 2", said);
            }
        }

        var asked = bad.Requests;
        await redis.FlushAsync();
        await using var gateway = await TestGateway.StartAsync(
            settings.With(("Certificates:Acme:Directories:0:Url", bad.Url), ("Certificates:Acme:Directories:1:Url", pebble.Directory)), LogOf.Kept);
        await gateway.SaysAsync($"{bad.Url} issued no certificate for gateway.localhost, *.gateway.localhost", said);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "the second directory has issued");
        Assert.InRange(bad.Requests - asked, 1, 2);
    }

    private static async Task AnswerAsync(HttpContext context, string mood)
    {
        switch (mood)
        {
            case "500":
                context.Response.StatusCode = 500;
                await context.Response.WriteAsync("<h1>oops</h1>");
                break;
            case "429":
                context.Response.StatusCode = 429;
                context.Response.Headers.RetryAfter = "3600";
                context.Response.ContentType = "application/problem+json";
                await context.Response.WriteAsync("""{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued"}""");
                break;
            case "garbage":
                context.Response.ContentType = "application/json";
                await context.Response.WriteAsync("{\"newNonce\":17,\"newOrder\":[");
                break;
            case "empty":
                break;
            case "endless":
                await using (var body = context.Response.BodyWriter.AsStream())
                {
                    var zeros = new byte[64 * 1024];
                    for (var i = 0; i < 64; i++)
                    {
                        await body.WriteAsync(zeros);
                    }
                }

                break;
            case "hangs":
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                break;
            default:
                context.Abort();
                break;
        }
    }

    [Fact]
    public async Task Strangers_cannot_make_it_order_and_hardly_make_it_ask_Redis()
    {
        var count = Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1" ? 10_000 : 500;
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        await using var pebble = await PebbleServer.StartAsync(http: http, tls: https);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(pebble.Settings("Http").With(
            ("Storage:Redis", redis.ConnectionString), ("Listen:Http", $"127.0.0.1:{http}"), ("Listen:Https", $"127.0.0.1:{https}"),
            ("Certificates:OnDemand:Enabled", "true"), ("Certificates:OnDemand:RefusalMemory", "1.00:00:00")));
        const string own = $"tunnel.{TestGateway.Domain}";
        await Eventually.TrueAsync(async () => await Handshake.TryAsync(https, own) is not null, "the gateway has its own certificate");
        var off = await gateway.AddDeviceAsync(publicUrl: false);
        await using var multiplexer = await ConnectionMultiplexer.ConnectAsync($"{redis.ConnectionString},allowAdmin=true");
        await Eventually.TrueAsync(
            async () => await multiplexer.GetDatabase().SortedSetScoreAsync("certs", own) > DateTimeOffset.UtcNow.AddHours(1).ToUnixTimeMilliseconds(), "it has nothing to ask the server for");

        string[] names =
        [
            .. Enumerable.Range(0, count).Select(i => (i % 4) switch
            {
                0 => string.Create(CultureInfo.InvariantCulture, $"stranger-{i}.example.com"),
                1 => $"{Guid.NewGuid():N}.{TestGateway.Domain}",
                2 => off.Host,
                _ => string.Create(CultureInfo.InvariantCulture, $"x{i}.y.{TestGateway.Domain}"),
            }),
        ];
        Task ShakeHandsAsync(IEnumerable<string> with) => Parallel.ForEachAsync(with, new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (name, _) => await Handshake.TryAsync(https, name));
        var (requests, before) = (pebble.Requests, await LookUpsAsync(multiplexer));
        await ShakeHandsAsync(names);
        var asked = await LookUpsAsync(multiplexer) - before;
        await ShakeHandsAsync(names.Take(400));
        var askedAgain = await LookUpsAsync(multiplexer) - before - asked;
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"{count} handshakes: {pebble.Requests - requests} requests to the ACME server, {asked} look-ups in Redis; 400 more with the same names: {askedAgain}");

        Assert.Equal(requests, pebble.Requests);

        // A name that is nobody's is not looked up. One that could be a device's is, once: what the device is and where its
        // tunnels are, in one round trip. The rest is what the gateway does by itself meanwhile.
        Assert.InRange(asked, count / 4 * 2, (count / 4 * 2) + Incidental);
        Assert.InRange(askedAgain, 0, Incidental);
    }

    private const int Incidental = 40;

    // Devices are read by HGETALL, and hardly anything else is.
    private static async Task<long> LookUpsAsync(ConnectionMultiplexer multiplexer)
    {
        var statistics = (await multiplexer.GetServers()[0].InfoAsync("commandstats")).SelectMany(static group => group);
        var calls = statistics.FirstOrDefault(static line => line.Key == "cmdstat_hgetall").Value;
        return calls is null ? 0 : long.Parse(calls["calls=".Length..calls.IndexOf(',', StringComparison.Ordinal)], CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task A_clock_that_jumps_ahead_is_named_and_does_not_order_without_end_and_one_that_jumps_back_is_survived()
    {
        var dns = RedisServer.FreePort();
        var clock = new WrongClock();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(
            pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}"), ("Certificates:Acme:RetryDelay", "00:10:00")),
            builder =>
            {
                LogOf.Kept(builder);
                builder.Services.AddSingleton<TimeProvider>(clock);
            });
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        var first = await Handshake.TryAsync(gateway.HttpsPort, AnyDevice);
        Assert.Equal(1, pebble.Orders);

        // Certificates are good for six days and renewed after four.
        clock.Ahead = TimeSpan.FromDays(5);
        await gateway.SaysAsync("check this machine's clock");
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != first!.Thumbprint, "the new one is served");
        Assert.Equal(2, pebble.Orders);

        // Back again: the pause that was noted in the future holds nothing up, and nothing is due.
        clock.Ahead = TimeSpan.Zero;
        var database = (await gateway.Services.GetRequiredService<Gateway.Storage.RedisConnection>().FirstConnected).GetDatabase();
        await Eventually.TrueAsync(
            async () => (await database.SortedSetScoreAsync("certs", "gateway.localhost")) < DateTimeOffset.UtcNow.AddDays(4.5).ToUnixTimeMilliseconds(), "it is planned anew");
        Assert.Equal(2, pebble.Orders);
    }

    [Theory]
    [InlineData("key", "v1.AAAA")]
    [InlineData("key", "")]
    [InlineData("chain", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")]
    [InlineData("chain", "no certificate at all")]
    [InlineData("", "")]
    public async Task A_corrupt_certificate_in_Redis_is_named_the_last_good_one_stays_and_another_one_is_ordered(string field, string value)
    {
        var dns = RedisServer.FreePort();
        await using var pebble = await PebbleServer.StartAsync(dns);
        await using var redis = await RedisServer.StartAsync();
        await using var gateway = await TestGateway.StartAsync(
            pebble.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")), LogOf.Kept);
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
        var first = await Handshake.TryAsync(gateway.HttpsPort, AnyDevice);
        var database = (await gateway.Services.GetRequiredService<Gateway.Storage.RedisConnection>().FirstConnected).GetDatabase();
        const string key = "cert:{gateway.localhost}";

        if (field.Length == 0)
        {
            await database.StringSetAsync(key, "of another type altogether");
        }
        else
        {
            await database.HashSetAsync(key, [new(field, value), new("version", "another one")]);
        }

        await database.PublishAsync(RedisChannel.Literal("certificates"), "gateway.localhost");

        await gateway.SaysAsync("The certificate of gateway.localhost in the store cannot be used, the one before it stays and it is ordered anew");
        Assert.True((await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice));
        await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice))!.Thumbprint != first!.Thumbprint, "another one is served");
        Assert.Equal(2, pebble.Orders);
    }

    [Fact]
    public async Task An_account_that_the_server_has_forgotten_is_registered_anew()
    {
        var dns = RedisServer.FreePort();
        await using var redis = await RedisServer.StartAsync();
        string? lastDirectory = null;
        await using (var before = await PebbleServer.StartAsync(dns))
        {
            await using var gateway = await TestGateway.StartAsync(before.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")));
            await Eventually.TrueAsync(async () => (await Handshake.TryAsync(gateway.HttpsPort, AnyDevice)).IsFor(AnyDevice), "it is served");
            lastDirectory = before.Directory;
        }

        // The same address in front of another server, as after a loss of its data.
        await using var after = await PebbleServer.StartAsync(dns, port: new Uri(lastDirectory).Port);
        await using var again = await TestGateway.StartAsync(
            after.Settings("Dns").With(("Storage:Redis", redis.ConnectionString), ("Certificates:Acme:Dns:Listen", $"127.0.0.1:{dns}")), LogOf.Kept);
        await again.Services.GetRequiredService<Gateway.Certificates.Shared.CertificateStore>().HurryAsync("gateway.localhost");

        await again.SaysAsync("does not know the account any more; a new one is registered");
        await Eventually.TrueAsync(() => after.Orders >= 1 && again.Log().Any(static line => line.StartsWith("Certificate of gateway.localhost issued", StringComparison.Ordinal)), "it is issued");
    }
}
