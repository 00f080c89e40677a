using System.Collections.Concurrent;
using System.Net;
using Gateway.Certificates.SelfSigned;
using Gateway.Certificates.Shared;
using Gateway.Listeners.Tls;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Certificates.OnDemand;

/// <summary>
/// Gets a certificate while a client waits in its handshake. Strangers choose the names here, so that everything is bounded: a
/// name has to be a device's, what was refused is remembered, and orders have a budget by address and in total.
/// </summary>
internal sealed partial class OnDemandCertificates(
    OnDemandNames names, SharedCertificates shared, CertificateStore store, CertificateIssuance issuance, LocalAuthority authority, ServedCertificates served, TlsProfile profile,
    CertificateMetrics metrics, IOptions<CertificateOptions> options, TimeProvider time, ILogger<OnDemandCertificates> logger)
{
    private const int Capacity = 10_000;
    private const string TotalBudget = "total-budget";
    private const string AddressBudget = "address-budget";

    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    private readonly ConcurrentDictionary<string, Lazy<Task<ServedCertificate?>>> _underWay = new(StringComparer.OrdinalIgnoreCase);
    private readonly ConcurrentDictionary<string, long> _refused = new(StringComparer.OrdinalIgnoreCase);
    private readonly ConcurrentDictionary<IPAddress, (long Since, int Count)> _byAddress = new();
    private readonly OnDemandOptions _options = options.Value.OnDemand;

    private bool IsLocal => options.Value.Source == CertificateSource.SelfSigned;

    /// <summary>Whether a name could get a certificate at first use; nobody is asked.</summary>
    public bool MayHave(string name) => (_options.Enabled || IsLocal) && names.TryFind(name, out _);

    /// <summary>The name's certificate, ordered if need be; null when it gets none now.</summary>
    /// <param name="name">The server name of a handshake.</param>
    /// <param name="client">Who asks.</param>
    /// <param name="cancellationToken">The client waits no longer; the order goes on.</param>
    public async Task<ServedCertificate?> GetAsync(string name, IPAddress? client, CancellationToken cancellationToken)
    {
        name = name.ToLowerInvariant();
        if (_refused.TryGetValue(name, out var refusedAt))
        {
            if (time.GetElapsedTime(refusedAt) < _options.RefusalMemory)
            {
                metrics.Refused("remembered");
                return null;
            }

            _refused.TryRemove(name, out _);
        }

        // Clients that ask for the same name share one answer.
        var work = _underWay.GetOrAdd(name, key => new Lazy<Task<ServedCertificate?>>(() => Task.Run(() => FindOrOrderAsync(key, client), CancellationToken.None)));
        return await work.Value.WaitAsync(cancellationToken);
    }

    private async Task<ServedCertificate?> FindOrOrderAsync(string name, IPAddress? client)
    {
        try
        {
            var (certificate, refusal) = await TryFindOrOrderAsync(name, client);
            if (refusal is not null)
            {
                Remember(name);
                metrics.Refused(refusal);
                if (refusal is TotalBudget or AddressBudget)
                {
                    LogBudget(logger, name, refusal, client);
                }
                else
                {
                    LogRefused(logger, name, refusal, client);
                }
            }

            return certificate;
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception) || exception is RedisException)
        {
            metrics.Refused("store-unavailable");
            return null;
        }
        finally
        {
            _underWay.TryRemove(name, out _);
        }
    }

    private async Task<(ServedCertificate? Certificate, string? Refusal)> TryFindOrOrderAsync(string name, IPAddress? client)
    {
        if (!await names.IsEntitledAsync(name))
        {
            return (null, "not-entitled");
        }

        if (IsLocal)
        {
            var (chain, key) = authority.Issue([name]);
            var local = ServedCertificate.FromPem(chain, key, profile);
            served.Put(name, local);
            return (local, null);
        }

        if (await shared.LoadAsync(name) is { } stored)
        {
            return (stored, null);
        }

        if (await store.FindFailureAsync(name) is { } failure && failure.Until > time.GetUtcNow())
        {
            return (null, "failed-recently");
        }

        if (!TryCount(client))
        {
            return (null, AddressBudget);
        }

        if (await store.CountOnDemandAsync(time.GetUtcNow()) > _options.MaxPerHour)
        {
            return (null, TotalBudget);
        }

        await issuance.TryRenewAsync(name, [name], OnDemandNames.ChallengeOf(options.Value.Acme), CancellationToken.None);

        // Where another node is at it, the client's next try finds it done; where it failed, the failure is in the store now.
        return (await shared.LoadAsync(name), null);
    }

    private void Remember(string name)
    {
        if (_refused.Count >= Capacity)
        {
            _refused.Clear();
        }

        _refused[name] = time.GetTimestamp();
    }

    private bool TryCount(IPAddress? client)
    {
        if (_byAddress.Count >= Capacity)
        {
            foreach (var (address, (since, _)) in _byAddress)
            {
                if (time.GetElapsedTime(since) > Hour)
                {
                    _byAddress.TryRemove(address, out _);
                }
            }
        }

        if (_byAddress.Count >= Capacity)
        {
            return false;
        }

        var (_, count) = _byAddress.AddOrUpdate(
            Tunnels.ClientNetwork.Of(client),
            static (_, now) => (now, 1),
            (_, known, now) => time.GetElapsedTime(known.Since, now) > Hour ? (now, 1) : (known.Since, known.Count + 1),
            time.GetTimestamp());
        return count <= _options.MaxPerHourAndAddress;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "No certificate at first use for {Name}: this hour's orders are used up ({Budget}), asked for by {Client}")]
    private static partial void LogBudget(ILogger logger, string name, string budget, IPAddress? client);

    // Strangers choose how often this happens.
    [LoggerMessage(Level = LogLevel.Debug, Message = "No certificate at first use for {Name} ({Reason}), asked for by {Client}")]
    private static partial void LogRefused(ILogger logger, string name, string reason, IPAddress? client);
}
