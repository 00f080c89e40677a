using System.Diagnostics.Metrics;
using System.Security.Cryptography.X509Certificates;
using Gateway.Telemetry;

namespace Gateway.Certificates;

/// <summary>What operators watch of certificates. The names of devices and of their domains are never labels.</summary>
internal sealed class CertificateMetrics
{
    private const string Other = "other";

    // What a server calls its error becomes a label only when it is a known one: servers are strangers as well.
    private static readonly HashSet<string> KnownErrors = new(StringComparer.Ordinal)
    {
        "accountDoesNotExist", "badCSR", "badNonce", "badPublicKey", "badSignatureAlgorithm", "caa", "connection", "dns", "externalAccountRequired", "incorrectResponse",
        "invalidContact", "invalidProfile", "malformed", "orderNotReady", "rateLimited", "rejectedIdentifier", "serverInternal", "tls", "unauthorized", "unsupportedChallenge",
        "unsupportedIdentifier", "userActionRequired", "busy", Acme.AcmeException.Garbage, Acme.AcmeException.Slow, Acme.AcmeException.Unreachable,
    };

    private readonly Counter<long> _orders;
    private readonly Histogram<double> _duration;
    private readonly Counter<long> _refused;

    public CertificateMetrics(IMeterFactory meters, ServedCertificates served, ManagedNames managed, TimeProvider time)
    {
        var meter = meters.Create(GatewayMetrics.MeterName);
        _orders = meter.CreateCounter<long>("gateway.certificates.orders", "{order}", "Orders at ACME servers that came to an end, by server and error.");
        _duration = meter.CreateHistogram<double>("gateway.certificates.order.duration", "s", "How long orders took.");
        _refused = meter.CreateCounter<long>("gateway.certificates.on_demand.refused", "{handshake}", "Handshakes that could have caused an order and did not, by reason.");
        meter.CreateObservableGauge(
            "gateway.certificates.expiry", () => Measure(served, managed, certificate => certificate.End - time.GetUtcNow()), "s",
            "Time until a certificate that is served ends; of those at first use together, the next to end.");
        meter.CreateObservableGauge(
            "gateway.certificates.lifetime", () => Measure(served, managed, static certificate => certificate.End - certificate.Begin), "s",
            "From a certificate's begin to its end; of those at first use together, the next to end.");
        meter.CreateObservableUpDownCounter("gateway.certificates.served", () => served.List().Count, "{certificate}", "Certificates that are ready for handshakes on this node.");
    }

    /// <summary>Counts from zero at each server, so that the first order is an increase to those who watch: orders are rare.</summary>
    public void Expect(IEnumerable<Acme.AcmeDirectoryOptions> directories)
    {
        foreach (var directory in directories)
        {
            _orders.Add(0, ServerOf(directory.Url));
        }
    }

    /// <summary>An order ended.</summary>
    /// <param name="directory">The server.</param>
    /// <param name="error">Null when it issued.</param>
    /// <param name="duration">How long it took.</param>
    public void Ordered(string directory, string? error, TimeSpan duration)
    {
        var server = ServerOf(directory);
        if (error is null)
        {
            _orders.Add(1, server);
        }
        else
        {
            _orders.Add(1, server, new KeyValuePair<string, object?>("error.type", KnownErrors.Contains(error) ? error : Other));
        }

        _duration.Record(duration.TotalSeconds, server);
    }

    /// <summary>A handshake caused no order.</summary>
    public void Refused(string reason) => _refused.Add(1, new KeyValuePair<string, object?>("error.type", reason));

    private static KeyValuePair<string, object?> ServerOf(string directory) => new("server.address", new Uri(directory).Host);

    private static IEnumerable<Measurement<double>> Measure(ServedCertificates served, ManagedNames managed, Func<X509Certificate2, TimeSpan> value)
    {
        X509Certificate2? onDemand = null;
        foreach (var (key, certificate) in served.List())
        {
            if (managed.Contains(key) || Path.IsPathRooted(key))
            {
                yield return Of(certificate.Certificate, managed.Contains(key) ? key : certificate.Names.FirstOrDefault(Other));
            }
            else if (onDemand is null || certificate.Certificate.NotAfter < onDemand.NotAfter)
            {
                onDemand = certificate.Certificate;
            }
        }

        if (onDemand is not null)
        {
            yield return Of(onDemand, "on-demand");
        }

        Measurement<double> Of(X509Certificate2 certificate, string name) => new(value(certificate).TotalSeconds, new KeyValuePair<string, object?>("gateway.certificate", name));
    }
}
