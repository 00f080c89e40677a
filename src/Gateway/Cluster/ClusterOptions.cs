using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Cluster;

/// <summary>How this node works together with others on the same Redis. A node alone needs none of it.</summary>
internal sealed class ClusterOptions
{
    public const string Section = "Cluster";

    /// <summary>The fewest characters of <see cref="Secret"/>.</summary>
    private const int MinSecretLength = 32;

    /// <summary>This node's name, unique among the nodes on one Redis. Default empty: the machine's name.</summary>
    public string Node { get; set; } = "";

    /// <summary>The inner listener, for other nodes only (HTTP/2, TLS). Default empty: none, this node is alone. Example <c>*:8443</c>.</summary>
    public string Listen { get; set; } = "";

    /// <summary>Where other nodes reach the inner listener, as host:port. Default empty: <see cref="Listen"/>, if it names an address.</summary>
    public string Advertise { get; set; } = "";

    /// <summary>What all nodes know and nobody else: with it each signs what it says of itself in Redis. At least 32 characters.</summary>
    public string Secret { get; set; } = "";

    /// <summary>How often a node says that it lives; three times as long without a word, and it is dead. Default 5 s.</summary>
    public TimeSpan Heartbeat { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The longest wait for a connection to another node; then another way is tried. Default 1 s.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(1);

    internal sealed class Validator : IValidateOptions<ClusterOptions>
    {
        public ValidateOptionsResult Validate(string? name, ClusterOptions options)
        {
            if (options.Node.AsSpan().ContainsAnyExceptInRange('!', '~') || options.Node.Length > 100)
            {
                return ValidateOptionsResult.Fail($"{Section}:Node is \"{options.Node}\": give up to 100 characters of visible ASCII, e.g. \"gateway-1\".");
            }

            if (options.Heartbeat < TimeSpan.FromMilliseconds(100) || options.Heartbeat > TimeSpan.FromMinutes(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:Heartbeat is {options.Heartbeat}: give 00:00:00.100 to 00:01:00.");
            }

            if (options.ConnectTimeout < TimeSpan.FromMilliseconds(50) || options.ConnectTimeout > TimeSpan.FromSeconds(30))
            {
                return ValidateOptionsResult.Fail($"{Section}:ConnectTimeout is {options.ConnectTimeout}: give 00:00:00.050 to 00:00:30.");
            }

            if (options.Listen.Length == 0)
            {
                return options.Advertise.Length > 0 || options.Secret.Length > 0
                    ? ValidateOptionsResult.Fail($"{Section}:Listen is empty, and {Section}:Advertise or {Section}:Secret is not: give the inner listener's address, e.g. \"*:8443\".")
                    : ValidateOptionsResult.Success;
            }

            if (!ListenAddress.TryParse(options.Listen, out _) || options.Listen.StartsWith("unix:", StringComparison.Ordinal))
            {
                return ValidateOptionsResult.Fail($"{Section}:Listen is \"{options.Listen}\": give an address and a port, e.g. \"*:8443\" or \"10.0.0.5:8443\".");
            }

            if (options.Advertise.Length == 0 ? options.Listen.StartsWith("*:", StringComparison.Ordinal) : !NodeAddress.TryParse(options.Advertise, out _))
            {
                return ValidateOptionsResult.Fail($"{Section}:Advertise is \"{options.Advertise}\", and {Section}:Listen is \"{options.Listen}\": give where other nodes reach this one, e.g. \"10.0.0.5:8443\".");
            }

            // The secret itself stands in no message.
            return options.Secret.Length < MinSecretLength
                ? ValidateOptionsResult.Fail($"{Section}:Secret has {options.Secret.Length} characters: give at least {MinSecretLength}, the same to all nodes, e.g. from `openssl rand -base64 32`.")
                : ValidateOptionsResult.Success;
        }
    }
}
