using System.Diagnostics.Metrics;

namespace Gateway.Telemetry;

/// <summary>What operators count. A device's uuid is never a label.</summary>
internal sealed class GatewayMetrics
{
    public const string MeterName = "Gateway";

    private readonly UpDownCounter<long> _tunnels;
    private readonly Counter<long> _refusedTunnels;
    private readonly UpDownCounter<long> _visits;
    private readonly Counter<long> _failures;
    private readonly Counter<long> _repeated;
    private readonly UpDownCounter<long> _held;

    public GatewayMetrics(IMeterFactory meters)
    {
        var meter = meters.Create(MeterName);
        _tunnels = meter.CreateUpDownCounter<long>("gateway.tunnels.active", "{tunnel}", "Tunnels that are up on this node.");
        _refusedTunnels = meter.CreateCounter<long>("gateway.tunnels.refused", "{tunnel}", "Handshakes refused because the uuid and the key do not belong together.");
        _visits = meter.CreateUpDownCounter<long>("gateway.requests.active", "{request}", "Visitors' requests in flight on this node, open streams among them.");
        _failures = meter.CreateCounter<long>("gateway.requests.failed", "{request}", "Requests that the gateway answered itself, by reason.");
        _repeated = meter.CreateCounter<long>("gateway.requests.repeated", "{request}", "Requests that were sent another way after a first one had failed.");
        _held = meter.CreateUpDownCounter<long>("gateway.requests.held", "{request}", "Requests that wait for a device to return.");
    }

    public Counted TunnelUp() => new(_tunnels);

    public void TunnelRefused() => _refusedTunnels.Add(1);

    public Counted Visit() => new(_visits);

    public void Repeated() => _repeated.Add(1);

    public Counted Hold() => new(_held);

    public void Failed(string reason) => _failures.Add(1, new KeyValuePair<string, object?>("error.type", reason));

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
}
