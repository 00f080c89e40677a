using System.Net;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>How much one visitor's address, one device, and this node may have under way at once. 0 lifts a limit.</summary>
internal sealed class LimitOptions
{
    public const string Section = "Limits";

    /// <summary>
    /// Networks (CIDR) whose visitors have no limits of their own, monitoring for example. Default none. The connections of
    /// <c>Edge:TrustedProxies</c> have none either: each of them brings many visitors, who are counted one by one.
    /// </summary>
    public IList<string> Exempt { get; } = [];

    /// <summary>Whether this machine's own loopback is exempt: local proxies and probes. Default true.</summary>
    public bool ExemptLoopback { get; set; } = true;

    /// <summary>What one visitor's address may have.</summary>
    public VisitorLimits Visitor { get; set; } = new();

    /// <summary>What one device may have, on each node.</summary>
    public DeviceLimits Device { get; set; } = new();

    /// <summary>What this node takes on.</summary>
    public NodeLimits Node { get; set; } = new();

    /// <summary>What one address, an IPv6 /64 for one, may have.</summary>
    internal sealed class VisitorLimits
    {
        /// <summary>
        /// Connections at once, beyond which further ones are closed. Those of devices count until the device has proven who it is;
        /// many of them may stand behind one address. Default 4,000.
        /// </summary>
        public int Connections { get; set; } = 4000;

        /// <summary>New connections in a second, on average of ten seconds; beyond it they are closed. Default 200.</summary>
        public int ConnectsPerSecond { get; set; } = 200;

        /// <summary>Requests in flight at once, open streams and WebSockets among them; beyond it 429. Default 1,000.</summary>
        public int Requests { get; set; } = 1000;

        /// <summary>Requests in a second, on average of two seconds; beyond it 429. Default 1,000.</summary>
        public int RequestsPerSecond { get; set; } = 1000;

        /// <summary>
        /// Frames of HTTP/2 in a second that bring nothing (PING, SETTINGS, PRIORITY, resets, empty and unknown ones), and fifty times as many
        /// openings of windows, on one connection and on average of ten seconds; beyond it the connection is closed. Default 2,000.
        /// </summary>
        public int IdleFramesPerSecond { get; set; } = 2000;
    }

    /// <summary>What one device may have, so that it does not take what others need.</summary>
    internal sealed class DeviceLimits
    {
        /// <summary>Requests in flight at once, open streams and WebSockets among them; beyond it 503. Default 1,000.</summary>
        public int Requests { get; set; } = 1000;

        /// <summary>WebSockets at once, part of <see cref="Requests"/>; beyond it 503. Default 500.</summary>
        public int WebSockets { get; set; } = 500;

        /// <summary>
        /// Bytes that may wait in memory in the device's exchanges, because visitors do not read its responses or it does not read their
        /// requests; beyond it the exchange that has stood still longest is ended. Default 256 MiB.
        /// </summary>
        public long BufferedBytes { get; set; } = 256 * 1024 * 1024;

        /// <summary>Tunnels that a device opens in a minute; beyond it 429. Wrong keys do not count. Default 60.</summary>
        public int ConnectsPerMinute { get; set; } = 60;
    }

    /// <summary>What this node takes on before it refuses, so that what it has goes on.</summary>
    internal sealed class NodeLimits
    {
        /// <summary>
        /// Connections of visitors and devices at once, beyond which further ones are closed. Default 0: 95 % of the files that the process may open.
        /// </summary>
        public int Connections { get; set; }

        /// <summary>Tunnels at once, part of <see cref="Connections"/>; beyond it 503. Default 0: 90 % of the files that the process may open.</summary>
        public int Tunnels { get; set; }

        /// <summary>
        /// Share of the memory that the process may use, in percent, beyond which new requests and tunnels get 503; 0 never. Default 85.
        /// </summary>
        public int MemoryPercent { get; set; } = 85;

        /// <summary>The memory that the process may use, in MiB. Default 0: what the machine, or the container, has.</summary>
        public int MemoryMib { get; set; }
    }

    internal sealed class Validator : IValidateOptions<LimitOptions>
    {
        public ValidateOptionsResult Validate(string? name, LimitOptions options)
        {
            for (var i = 0; i < options.Exempt.Count; i++)
            {
                if (!IPNetwork.TryParse(options.Exempt[i], out _))
                {
                    return ValidateOptionsResult.Fail($"{Section}:Exempt[{i}] is \"{options.Exempt[i]}\": give a network, e.g. \"10.0.0.0/8\" or \"2001:db8::/32\".");
                }
            }

            foreach (var (key, value) in new[]
            {
                ("Visitor:Connections", options.Visitor.Connections), ("Visitor:ConnectsPerSecond", options.Visitor.ConnectsPerSecond), ("Visitor:Requests", options.Visitor.Requests), ("Visitor:RequestsPerSecond", options.Visitor.RequestsPerSecond), ("Visitor:IdleFramesPerSecond", options.Visitor.IdleFramesPerSecond),
                ("Device:Requests", options.Device.Requests), ("Device:WebSockets", options.Device.WebSockets), ("Device:ConnectsPerMinute", options.Device.ConnectsPerMinute),
                ("Node:Connections", options.Node.Connections), ("Node:Tunnels", options.Node.Tunnels),
            })
            {
                if (value is < 0 or > 10_000_000)
                {
                    return ValidateOptionsResult.Fail($"{Section}:{key} is {value}: give 1 to 10000000, or 0.");
                }
            }

            if (options.Device.BufferedBytes is not 0 and < 1024 * 1024)
            {
                return ValidateOptionsResult.Fail($"{Section}:Device:BufferedBytes is {options.Device.BufferedBytes}: give at least 1048576 bytes, or 0 for no limit.");
            }

            if (options.Node.MemoryPercent is not 0 and (< 10 or > 99))
            {
                return ValidateOptionsResult.Fail($"{Section}:Node:MemoryPercent is {options.Node.MemoryPercent}: give 10 to 99, or 0 for no limit.");
            }

            return options.Node.MemoryMib is not 0 and < 64
                ? ValidateOptionsResult.Fail($"{Section}:Node:MemoryMib is {options.Node.MemoryMib}: give at least 64, or 0 for what the machine has.")
                : ValidateOptionsResult.Success;
        }
    }
}
