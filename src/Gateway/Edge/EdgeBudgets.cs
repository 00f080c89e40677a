using Gateway.Devices;
using Gateway.Limits;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>
/// Lets a visitor's request in, as far as the node, the visitor's address and the device have room for it. What passes takes no lock that
/// others want, and allocates nothing.
/// </summary>
internal sealed class EdgeBudgets(
    MemoryWatch memory, VisitorBudgets visitors, VisitorFields fields, IOptions<LimitOptions> options, GatewayMetrics metrics, TimeProvider time)
{
    private readonly LimitOptions.DeviceLimits _device = options.Value.Device;
    private readonly int _perVisitor = options.Value.Visitor.Requests;
    private readonly PaceLimit _pace = PaceLimit.Of(options.Value.Visitor.RequestsPerSecond, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2), time);

    /// <summary>Counts a request for the node and for its visitor.</summary>
    public Admission Admit(HttpContext context)
    {
        if (memory.IsShedding)
        {
            metrics.Refused(GatewayMetrics.Limit.NodeMemory);

            // The connection's buffers are wanted, too.
            context.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();
            return new Admission(Failure.Overloaded);
        }

        var visitor = fields.IsFromProxy(context) ? visitors.Find(fields.AddressOf(context)) : context.Features.Get<ConnectionUse>()?.Visitor;
        if (visitor is null)
        {
            return default;
        }

        if (!visitor.TryTake(_pace, time.GetTimestamp()))
        {
            metrics.Refused(GatewayMetrics.Limit.VisitorRate);
            return new Admission(Failure.TooManyRequests);
        }

        if (!visitor.TryEnter(_perVisitor))
        {
            metrics.Refused(GatewayMetrics.Limit.VisitorRequests);
            return new Admission(Failure.TooManyRequests);
        }

        return new Admission(visitor);
    }

    /// <summary>Counts a request for its device.</summary>
    public Turn Enter(DeviceEntry device, bool isWebSocket)
    {
        if (device.Use.TryEnter(_device, isWebSocket))
        {
            return new Turn(device.Use, isWebSocket);
        }

        metrics.Refused(GatewayMetrics.Limit.DeviceRequests);
        return default;
    }

    /// <summary>A request that counts for its visitor until disposed of; or why it does not.</summary>
    public readonly struct Admission : IDisposable
    {
        private readonly VisitorUse? _visitor;

        internal Admission(VisitorUse visitor) => _visitor = visitor;

        internal Admission(Failure refusal) => Refusal = refusal;

        /// <summary>Null when the request may go on.</summary>
        public Failure? Refusal { get; }

        public void Dispose() => _visitor?.Leave();
    }

    /// <summary>A request that counts for its device until disposed of.</summary>
    public readonly struct Turn : IDisposable
    {
        private readonly DeviceUse? _device;
        private readonly bool _isWebSocket;

        internal Turn(DeviceUse device, bool isWebSocket) => (_device, _isWebSocket) = (device, isWebSocket);

        /// <summary>Whether the device has as many requests as it may.</summary>
        public bool IsRefused => _device is null;

        public void Dispose() => _device?.Leave(_isWebSocket);
    }
}
