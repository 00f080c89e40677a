using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Storage;
using StackExchange.Redis;

namespace Gateway.Certificates.Shared;

/// <summary>Certificates in Redis, by the schema of docs/redis.md. Private keys stand there only encrypted.</summary>
internal sealed class CertificateStore(RedisConnection redis, KeyProtector protector)
{
    /// <summary>The channel on which the name of a changed certificate is published.</summary>
    public static readonly RedisChannel Changes = RedisChannel.Literal("certificates");

    // How SCAN finds what KeyOf and AccountOf name.
    private static readonly RedisValue[] SecretPatterns = ["cert:{*}", "acme:account:*"];

    // Name -> when it has to be looked at next, in Unix milliseconds.
    private static readonly RedisKey Schedule = "certs";
    private static readonly TimeSpan FailureMemory = TimeSpan.FromDays(7);

    private static readonly RedisValue ChainField = "chain";
    private static readonly RedisValue KeyField = "key";
    private static readonly RedisValue DirectoryField = "directory";
    private static readonly RedisValue VersionField = "version";
    private static readonly RedisValue RenewAtField = "renew_at";
    private static readonly RedisValue[] Fields = [ChainField, KeyField, DirectoryField, VersionField, RenewAtField];
    private static readonly RedisValue[] FailureFields = ["count", "at", "until", "reason"];

    private IDatabase Database => redis.Database;

    private static string KeyOf(string name) => $"cert:{{{name}}}";

    private static RedisKey FailureOf(string name) => $"acme:failure:{{{name}}}";

    /// <summary>Reads a certificate; null when there is none.</summary>
    /// <exception cref="UnusableCertificateException">What stands there cannot be used.</exception>
    public async Task<StoredCertificate?> FindAsync(string name)
    {
        var key = KeyOf(name);
        RedisValue[] values;
        try
        {
            values = await Database.HashGetAsync(key, Fields);
        }
        catch (RedisServerException exception) when (IsOfAnotherType(exception))
        {
            throw new UnusableCertificateException("it is no hash", exception);
        }

        if (values[0].IsNull && values[1].IsNull)
        {
            return null;
        }

        try
        {
            var chain = (string?)values[0] ?? throw new CryptographicException("its chain is missing");
            using var certificate = X509Certificate2.CreateFromPem(chain);
            var secret = protector.Unprotect((string?)values[1] ?? "", key);
            return new StoredCertificate(
                name, chain, secret, (string?)values[2] ?? "", ServedCertificate.VersionOf(certificate), values[4].TryParse(out long at) ? DateTimeOffset.FromUnixTimeMilliseconds(at) : DateTimeOffset.MinValue);
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            throw new UnusableCertificateException(exception.Message, exception);
        }
    }

    /// <summary>Which version of a certificate stands there; null when there is none.</summary>
    public async Task<string?> FindVersionAsync(string name)
    {
        try
        {
            return await Database.HashGetAsync(KeyOf(name), VersionField);
        }
        catch (RedisServerException exception) when (IsOfAnotherType(exception))
        {
            return null;
        }
    }

    /// <summary>Keeps a certificate and tells every node.</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="checkAt">When it has to be looked at next.</param>
    public async Task SaveAsync(StoredCertificate certificate, DateTimeOffset checkAt)
    {
        var key = KeyOf(certificate.Name);
        HashEntry[] fields =
        [
            new(ChainField, certificate.Chain),
            new(KeyField, protector.Protect(certificate.Key, key)),
            new(DirectoryField, certificate.Directory),
            new(VersionField, certificate.Version),
            new(RenewAtField, certificate.RenewAt.ToUnixTimeMilliseconds()),
        ];
        try
        {
            await Database.HashSetAsync(key, fields);
        }
        catch (RedisServerException exception) when (IsOfAnotherType(exception))
        {
            await Database.KeyDeleteAsync(key);
            await Database.HashSetAsync(key, fields);
        }

        await Database.KeyDeleteAsync(FailureOf(certificate.Name));
        await ScheduleAsync(certificate.Name, checkAt);
        await Database.PublishAsync(Changes, certificate.Name);
    }

    /// <summary>Notes when a certificate is to be replaced, and looked at next.</summary>
    public async Task PlanAsync(string name, DateTimeOffset renewAt, DateTimeOffset checkAt)
    {
        await Database.HashSetAsync(KeyOf(name), RenewAtField, renewAt.ToUnixTimeMilliseconds());
        await ScheduleAsync(name, checkAt);
    }

    /// <summary>Forgets a certificate, and tells every node.</summary>
    public async Task RemoveAsync(string name)
    {
        await Database.SortedSetRemoveAsync(Schedule, name);
        await Database.KeyDeleteAsync(KeyOf(name));
        await Database.KeyDeleteAsync(FailureOf(name));
        await Database.PublishAsync(Changes, name);
    }

    /// <summary>Has a certificate looked at no more: nobody is entitled to it now. It stays until then.</summary>
    public Task UnscheduleAsync(string name) => Database.SortedSetRemoveAsync(Schedule, name);

    /// <summary>When a name has to be looked at next; null when it never was.</summary>
    public async Task<DateTimeOffset?> FindScheduleAsync(string name) =>
        await Database.SortedSetScoreAsync(Schedule, name) is { } score ? DateTimeOffset.FromUnixTimeMilliseconds((long)score) : null;

    /// <summary>Has a name looked at at a time.</summary>
    public Task ScheduleAsync(string name, DateTimeOffset at) => Database.SortedSetAddAsync(Schedule, name, at.ToUnixTimeMilliseconds());

    /// <summary>Has a certificate replaced as soon as a node looks.</summary>
    public async Task HurryAsync(string name)
    {
        if (await Database.HashExistsAsync(KeyOf(name), ChainField))
        {
            await Database.HashSetAsync(KeyOf(name), RenewAtField, 0);
        }

        await Database.KeyDeleteAsync(FailureOf(name));
        await ScheduleAsync(name, DateTimeOffset.UnixEpoch);
    }

    /// <summary>The names that have to be looked at.</summary>
    public async Task<IReadOnlyList<string>> ListDueAsync(DateTimeOffset now, int limit) =>
        [.. (await Database.SortedSetRangeByScoreAsync(Schedule, double.NegativeInfinity, now.ToUnixTimeMilliseconds(), take: limit)).Select(static name => (string)name!)];

    /// <summary>All names that there is, or is to be, a certificate for.</summary>
    public async Task<IReadOnlyList<string>> ListAsync() => [.. (await Database.SortedSetRangeByRankAsync(Schedule)).Select(static name => (string)name!)];

    /// <summary>What went wrong the last times; null when nothing did.</summary>
    public async Task<IssuanceFailure?> FindFailureAsync(string name)
    {
        var values = await Database.HashGetAsync(FailureOf(name), FailureFields);
        return !values[0].IsNull && values[0].TryParse(out int count) && values[1].TryParse(out long at) && values[2].TryParse(out long until)
            ? new IssuanceFailure(count, DateTimeOffset.FromUnixTimeMilliseconds(at), DateTimeOffset.FromUnixTimeMilliseconds(until), (string?)values[3] ?? "")
            : null;
    }

    /// <summary>Notes that a name could not be had.</summary>
    public async Task FailAsync(string name, IssuanceFailure failure)
    {
        await Database.HashSetAsync(FailureOf(name),
        [
            new(FailureFields[0], failure.Count),
            new(FailureFields[1], failure.At.ToUnixTimeMilliseconds()),
            new(FailureFields[2], failure.Until.ToUnixTimeMilliseconds()),
            new(FailureFields[3], failure.Reason),
        ]);
        await Database.KeyExpireAsync(FailureOf(name), FailureMemory);
        await ScheduleAsync(name, failure.Until);
    }

    /// <summary>Counts one of the certificates at first use that all nodes together may order in an hour.</summary>
    /// <returns>How many it has been this hour.</returns>
    public async Task<long> CountOnDemandAsync(DateTimeOffset now)
    {
        RedisKey key = $"acme:ondemand:{now.ToUnixTimeSeconds() / 3600}";
        var count = await Database.StringIncrementAsync(key);
        await Database.KeyExpireAsync(key, TimeSpan.FromHours(2));
        return count;
    }

    /// <summary>Keeps others from working on a name; null when one of them does.</summary>
    public async Task<Lease?> TryLeaseAsync(string name, CancellationToken cancellationToken) =>
        await Lease.TryTakeAsync(Database, $"acme:lease:{{{name}}}", cancellationToken);

    /// <summary>Reads the ACME account at a directory; null when there is none.</summary>
    /// <exception cref="UnusableCertificateException">What stands there cannot be used.</exception>
    public async Task<(string Key, string Url)?> FindAccountAsync(string directory)
    {
        var place = AccountOf(directory);
        var values = await Database.HashGetAsync(place, ["key", "url"]);
        if (values[0].IsNull)
        {
            return null;
        }

        try
        {
            return (protector.Unprotect((string)values[0]!, place), (string?)values[1] ?? "");
        }
        catch (CryptographicException exception)
        {
            throw new UnusableCertificateException(exception.Message, exception);
        }
    }

    /// <summary>Keeps the ACME account at a directory.</summary>
    public Task SaveAccountAsync(string directory, string key, string url)
    {
        var place = AccountOf(directory);
        return Database.HashSetAsync(place, [new("key", protector.Protect(key, place)), new("url", url), new("directory", directory)]);
    }

    /// <summary>Forgets it.</summary>
    public Task RemoveAccountAsync(string directory) => Database.KeyDeleteAsync(AccountOf(directory));

    /// <summary>Where something encrypted stands: certificates that nobody looks at any more, and accounts of servers that are not configured any more, among them.</summary>
    public async IAsyncEnumerable<string> ListSecretsAsync()
    {
        foreach (var pattern in SecretPatterns)
        {
            await foreach (var place in redis.ScanAsync(pattern))
            {
                yield return place;
            }
        }
    }

    /// <summary>Encrypts what stands at a place with the newest key.</summary>
    /// <returns>False when it is that already.</returns>
    /// <exception cref="UnusableCertificateException">It cannot be decrypted.</exception>
    public async Task<bool> ReencryptAsync(string place)
    {
        while (true)
        {
            try
            {
                if ((string?)await Database.HashGetAsync(place, KeyField) is not { } before)
                {
                    return false;
                }

                var secret = protector.Unprotect(before, place, out var isNewest);
                if (isNewest)
                {
                    return false;
                }

                // A renewal may write at the same time; what it has written is not overwritten.
                if (await Database.TryEvaluateAsync(Replace, place, [KeyField, before, protector.Protect(secret, place)]))
                {
                    return true;
                }
            }
            catch (CryptographicException exception)
            {
                throw new UnusableCertificateException(exception.Message, exception);
            }
            catch (RedisServerException exception) when (IsOfAnotherType(exception))
            {
                throw new UnusableCertificateException("it is no hash", exception);
            }
        }
    }

    private const string Replace =
        """
        if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
        redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
        return 1
        """;

    // Somebody wrote something else there.
    private static bool IsOfAnotherType(RedisServerException exception) => exception.Message.StartsWith("WRONGTYPE", StringComparison.Ordinal);

    private static string AccountOf(string directory) =>
        string.Create(CultureInfo.InvariantCulture, $"acme:account:{Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(directory)).AsSpan(0, 8))}");
}
