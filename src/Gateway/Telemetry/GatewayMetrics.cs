using System.Diagnostics.Metrics;
using System.Security.Authentication;

namespace Gateway.Telemetry;

/// <summary>
/// What operators count; docs/metrics.md lists it. Names and units are OpenTelemetry's, every label has a small fixed set of
/// values, and a device's uuid is none of them. Counting allocates nothing.
/// </summary>
internal sealed class GatewayMetrics
{
    public const string MeterName = "Gateway";

    // Seconds: from a reconnect gone wrong to a month.
    private static readonly InstrumentAdvice<double> TunnelLives = new() { HistogramBucketBoundaries = [1, 10, 60, 300, 1800, 3600, 21_600, 86_400, 604_800, 2_592_000] };

    // Seconds: a device on the same desk answers in a millisecond, a long poll in minutes.
    private static readonly InstrumentAdvice<double> Waits = new() { HistogramBucketBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300] };

    private readonly Meter _meter;
    private readonly UpDownCounter<long> _tunnels;
    private readonly Counter<long> _tunnelConnects;
    private readonly UpDownCounter<long> _handshakesWaiting;
    private readonly Histogram<double> _tlsHandshakes;
    private readonly Histogram<double> _tunnelDuration;
    private readonly Counter<long> _failures;
    private readonly Counter<long> _repeated;
    private readonly UpDownCounter<long> _held;
    private readonly Counter<long> _refused;
    private readonly Counter<long> _hops;
    private readonly Histogram<double> _responseDelay;
    private readonly Counter<long> _forwarderErrors;
    private readonly Histogram<double> _storeDuration;

    // What every request changes is a number in memory, which is looked at when somebody collects.
    private readonly Tally _visits = new("kind", Kind.Http, Kind.WebSocket);
    private readonly Tally _lookups = new("source", Lookup.Memory, Lookup.Redis, Lookup.Stale, Lookup.Neighbour, Lookup.Unavailable);

    public GatewayMetrics(IMeterFactory meters)
    {
        var meter = _meter = meters.Create(MeterName);
        _tunnels = meter.CreateUpDownCounter<long>("gateway.tunnels.active", "{tunnel}", "Tunnels that are up on this node.");
        _tunnelConnects = meter.CreateCounter<long>("gateway.tunnel.connects", "{tunnel}", "Devices' handshakes, by outcome.");
        _handshakesWaiting = meter.CreateUpDownCounter<long>("gateway.tunnel.handshakes.waiting", "{connection}", "Devices' connections that wait for their TLS handshake.");
        _tlsHandshakes = meter.CreateHistogram("gateway.tunnel.tls_handshake.duration", "s", "How long devices' TLS handshakes took.", advice: Waits);
        _tunnelDuration = meter.CreateHistogram("gateway.tunnel.duration", "s", "How long tunnels lived, by the reason of their end.", advice: TunnelLives);
        meter.CreateObservableUpDownCounter("gateway.requests.active", _visits.Observe, "{request}", "Visitors' requests in flight on this node, by kind; open streams among them.");
        _failures = meter.CreateCounter<long>("gateway.requests.failed", "{request}", "Requests that the gateway answered itself, by reason.");
        _repeated = meter.CreateCounter<long>("gateway.requests.repeated", "{request}", "Requests that were sent another way after a first one had failed.");
        _held = meter.CreateUpDownCounter<long>("gateway.requests.held", "{request}", "Requests that wait for a device to return.");
        _refused = meter.CreateCounter<long>("gateway.limits.refused", "{refusal}", "Connections, requests and tunnels that were refused because a limit was reached, by the limit.");
        _hops = meter.CreateCounter<long>("gateway.node.hops", "{request}", "Requests that went to another node, which has the device's tunnel.");
        _responseDelay = meter.CreateHistogram("gateway.response.delay", "s", "From a request's forwarding to the head of the application's answer.", advice: Waits);
        _forwarderErrors = meter.CreateCounter<long>("gateway.forwarder.errors", "{error}", "Exchanges with a device that broke off, by the forwarder's error.");
        meter.CreateObservableCounter("gateway.device.lookups", _lookups.Observe, "{lookup}", "Questions for a device's flag or key, by what answered them.");
        _storeDuration = meter.CreateHistogram("db.client.operation.duration", "s", "How long Redis took to answer, by command.", advice: Waits);
    }

    /// <summary>How a device's handshake ended.</summary>
    public static class Connect
    {
        public const string Accepted = "accepted";
        public const string Malformed = "malformed";
        public const string WrongKey = "wrong_key";
        public const string Stopping = "stopping";
        public const string StoreUnavailable = "store_unavailable";

        /// <summary>Closed before TLS: too many wait for their handshake.</summary>
        public const string Overloaded = "overloaded";

        /// <summary>The device has a tunnel here, and asked for another node.</summary>
        public const string Elsewhere = "elsewhere";

        /// <summary>The device dials more often than it may.</summary>
        public const string TooOften = "too_often";

        /// <summary>The node has as many tunnels, or as much in memory, as it may.</summary>
        public const string Full = "full";
    }

    /// <summary>Which limit was reached.</summary>
    public static class Limit
    {
        public const string VisitorConnections = "visitor_connections";
        public const string VisitorConnects = "visitor_connects";
        public const string VisitorRequests = "visitor_requests";
        public const string VisitorRate = "visitor_rate";
        public const string VisitorFrames = "visitor_frames";
        public const string VisitorStalled = "visitor_stalled";
        public const string DeviceRequests = "device_requests";
        public const string DeviceBuffered = "device_buffered";
        public const string DeviceConnects = "device_connects";
        public const string NodeConnections = "node_connections";
        public const string NodeTunnels = "node_tunnels";
        public const string NodeMemory = "node_memory";
    }

    /// <summary>What a request is for.</summary>
    public static class Kind
    {
        public const string Http = "http";
        public const string WebSocket = "websocket";
    }

    /// <summary>Why a tunnel ended.</summary>
    public static class TunnelEnd
    {
        /// <summary>The device, or the network between, ended it.</summary>
        public const string Lost = "lost";

        /// <summary>The device has more than it may have; the oldest went.</summary>
        public const string Surplus = "surplus";

        /// <summary>The device floods it with frames.</summary>
        public const string Flooded = "flooded";

        /// <summary>The gateway stops.</summary>
        public const string Stopping = "stopping";
    }

    /// <summary>What answered a question for a device.</summary>
    public static class Lookup
    {
        public const string Memory = "memory";
        public const string Redis = "redis";

        /// <summary>Memory, of an age that only Redis' absence excuses.</summary>
        public const string Stale = "stale";

        /// <summary>Another node, while Redis is away.</summary>
        public const string Neighbour = "neighbour";

        /// <summary>Nothing did.</summary>
        public const string Unavailable = "unavailable";
    }

    public Counted TunnelUp() => new(_tunnels);

    public Counted HandshakeWaits() => new(_handshakesWaiting);

    public void TlsHandshake(TimeSpan duration, SslProtocols version) => _tlsHandshakes.Record(
        duration.TotalSeconds, new KeyValuePair<string, object?>("tls.protocol.version", version == SslProtocols.Tls13 ? "1.3" : "1.2"));

    public void TlsHandshakeFailed(TimeSpan duration, Exception exception) => _tlsHandshakes.Record(
        duration.TotalSeconds, new KeyValuePair<string, object?>("error.type", exception.GetType().FullName));

    public void TunnelConnect(string outcome) => _tunnelConnects.Add(1, new KeyValuePair<string, object?>("outcome", outcome));

    public void TunnelEnded(TimeSpan lived, string reason) => _tunnelDuration.Record(lived.TotalSeconds, new KeyValuePair<string, object?>("reason", reason));

    public Visiting Visit(bool isWebSocket) => new(_visits, isWebSocket ? Kind.WebSocket : Kind.Http);

    public void Repeated() => _repeated.Add(1);

    public Counted Hold() => new(_held);

    public void Refused(string limit) => _refused.Add(1, new KeyValuePair<string, object?>("limit", limit));

    public void Hopped() => _hops.Add(1);

    public void Failed(string reason) => _failures.Add(1, new KeyValuePair<string, object?>("error.type", reason));

    public void Answered(TimeSpan delay) => _responseDelay.Record(delay.TotalSeconds);

    public void ForwarderFailed(string error) => _forwarderErrors.Add(1, new KeyValuePair<string, object?>("error.type", error));

    public void LookedUp(string source) => _lookups.Add(source, 1);

    public void StoreAnswered(string operation, TimeSpan duration) => _storeDuration.Record(
        duration.TotalSeconds, new KeyValuePair<string, object?>("db.system.name", "redis"), new KeyValuePair<string, object?>("db.operation.name", operation));

    /// <summary>Asks, whenever somebody collects, whether Redis answers.</summary>
    public void ObserveStore(Func<bool> isUp) =>
        _meter.CreateObservableUpDownCounter("gateway.store.up", () => isUp() ? 1L : 0L, "{store}", "1 while Redis answers, 0 while it is away.");

    /// <summary>Asks, whenever somebody collects, whether the node drains.</summary>
    public void ObserveDraining(Func<bool> isDraining) =>
        _meter.CreateObservableUpDownCounter("gateway.node.draining", () => isDraining() ? 1L : 0L, "{node}", "1 while the node sends its devices elsewhere.");

    /// <summary>Asks, whenever somebody collects, how many visitors' addresses are remembered.</summary>
    public void ObserveVisitors(Func<long> known) =>
        _meter.CreateObservableUpDownCounter("gateway.limits.visitors", known, "{address}", "Visitors' addresses (IPv6: /64) whose use is remembered.");

    /// <summary>Asks, whenever somebody collects, for the bytes that wait at most for who does not take them.</summary>
    public void ObserveBacklog(Func<long> bytes) =>
        _meter.CreateObservableUpDownCounter("gateway.exchanges.waiting", bytes, "By", "The most that exchanges hold in memory whose visitor, or device, does not take it.");

    /// <summary>Asks, whenever somebody collects, how much of its memory the process uses, and whether it sheds load for that.</summary>
    public void ObserveMemory(Func<double> share, Func<bool> isShedding)
    {
        _meter.CreateObservableGauge("gateway.node.memory", share, "1", "Share of the memory that the process may use.");
        _meter.CreateObservableUpDownCounter("gateway.node.shedding", () => isShedding() ? 1L : 0L, "{node}", "1 while new requests and tunnels are refused because memory runs short.");
    }

    /// <summary>Asks, whenever somebody collects, how many devices have a tunnel here.</summary>
    public void ObserveDevices(Func<long> connected) =>
        _meter.CreateObservableUpDownCounter("gateway.devices.connected", connected, "{device}", "Devices that have a tunnel to this node.");

    /// <summary>Asks, whenever somebody collects, for the bytes that have crossed all tunnels.</summary>
    public void ObserveTraffic(Func<(long Received, long Sent)> bytes) =>
        _meter.CreateObservableCounter(
            "gateway.tunnel.io",
            () =>
            {
                var (received, sent) = bytes();
                return (Measurement<long>[])
                [
                    new(received, new KeyValuePair<string, object?>("network.io.direction", "receive")),
                    new(sent, new KeyValuePair<string, object?>("network.io.direction", "transmit")),
                ];
            },
            "By",
            "Bytes that crossed tunnels, from devices (receive) and to them (transmit), HTTP/2's own among them, TLS's not.");

    /// <summary>One more until disposed of.</summary>
    public readonly struct Counted : IDisposable
    {
        private readonly UpDownCounter<long> _counter;

        internal Counted(UpDownCounter<long> counter)
        {
            _counter = counter;
            _counter.Add(1);
        }

        public void Dispose() => _counter.Add(-1);
    }

    /// <summary>One more request of a kind until disposed of.</summary>
    public readonly struct Visiting : IDisposable
    {
        private readonly Tally _visits;
        private readonly string _kind;

        internal Visiting(Tally visits, string kind)
        {
            (_visits, _kind) = (visits, kind);
            _visits.Add(_kind, 1);
        }

        public void Dispose() => _visits.Add(_kind, -1);
    }

    /// <summary>Numbers by the value of one label, of which there are few.</summary>
    internal sealed class Tally(string label, params string[] values)
    {
        private readonly long[] _numbers = new long[values.Length];

        public void Add(string value, long change) => Interlocked.Add(ref _numbers[Array.IndexOf(values, value)], change);

        public IEnumerable<Measurement<long>> Observe() =>
            values.Select((value, i) => new Measurement<long>(Interlocked.Read(ref _numbers[i]), new KeyValuePair<string, object?>(label, value)));
    }
}
