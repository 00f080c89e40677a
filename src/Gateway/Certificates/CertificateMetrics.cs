using System.Diagnostics.Metrics;
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
        meter.CreateObservableGauge("gateway.certificates.expiry", () => Expiries(served, managed, time), "s", "Time until a certificate that is served ends; those at first use together, the next to end.");
        meter.CreateObservableUpDownCounter("gateway.certificates.served", () => served.List().Count, "{certificate}", "Certificates that are ready for handshakes on this node.");
    }

    /// <summary>An order ended.</summary>
    /// <param name="directory">The server.</param>
    /// <param name="error">Null when it issued.</param>
    /// <param name="duration">How long it took.</param>
    public void Ordered(string directory, string? error, TimeSpan duration)
    {
        var server = new KeyValuePair<string, object?>("server.address", new Uri(directory).Host);
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

    private static IEnumerable<Measurement<double>> Expiries(ServedCertificates served, ManagedNames managed, TimeProvider time)
    {
        var now = time.GetUtcNow();
        double? onDemand = null;
        foreach (var (key, certificate) in served.List())
        {
            var left = (certificate.Certificate.End - now).TotalSeconds;
            if (managed.Contains(key) || Path.IsPathRooted(key))
            {
                yield return new Measurement<double>(left, new KeyValuePair<string, object?>("gateway.certificate", managed.Contains(key) ? key : certificate.Names.FirstOrDefault(Other)));
            }
            else
            {
                onDemand = Math.Min(onDemand ?? left, left);
            }
        }

        if (onDemand is { } next)
        {
            yield return new Measurement<double>(next, new KeyValuePair<string, object?>("gateway.certificate", "on-demand"));
        }
    }
}
