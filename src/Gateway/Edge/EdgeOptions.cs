using System.Net;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

/// <summary>How visitors' requests are treated.</summary>
internal sealed class EdgeOptions
{
    public const string Section = "Edge";

    /// <summary>
    /// The longest wait for the head of an application's response, counted from the last byte of the request; then 504.
    /// Default 10 min, so that long polls of several minutes work. Streams that have begun have no limit.
    /// </summary>
    public TimeSpan ResponseTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>A request for a device that was connected a moment ago waits this long for its return. Default 5 s; 0 for none.</summary>
    public TimeSpan HoldTime { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// Networks (CIDR) of the proxies or balancers before the gateway whose <c>X-Forwarded-For</c> and <c>-Proto</c> are
    /// believed. Default none: what visitors send in these fields is dropped.
    /// </summary>
    public IList<string> TrustedProxies { get; } = [];

    /// <summary>
    /// Whether visitors who come without TLS are sent to <c>https</c>, if the gateway has a TLS listener. Default true.
    /// </summary>
    public bool RedirectToHttps { get; set; } = true;

    /// <summary>How long browsers are told to come only with TLS (RFC 6797). Default 0: they are not told.</summary>
    public TimeSpan HstsMaxAge { get; set; }

    internal sealed class Validator : IValidateOptions<EdgeOptions>
    {
        public ValidateOptionsResult Validate(string? name, EdgeOptions options)
        {
            if (options.ResponseTimeout < TimeSpan.FromMilliseconds(100) || options.ResponseTimeout > TimeSpan.FromDays(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:ResponseTimeout is {options.ResponseTimeout}: give 00:00:00.100 to 1.00:00:00.");
            }

            if (options.HoldTime < TimeSpan.Zero || options.HoldTime > TimeSpan.FromMinutes(1))
            {
                return ValidateOptionsResult.Fail($"{Section}:HoldTime is {options.HoldTime}: give 00:00:00 to 00:01:00.");
            }

            if (options.HstsMaxAge < TimeSpan.Zero)
            {
                return ValidateOptionsResult.Fail($"{Section}:HstsMaxAge is {options.HstsMaxAge}: give a duration, e.g. 365.00:00:00, or 00:00:00 for none.");
            }

            for (var i = 0; i < options.TrustedProxies.Count; i++)
            {
                if (!IPNetwork.TryParse(options.TrustedProxies[i], out _))
                {
                    return ValidateOptionsResult.Fail($"{Section}:TrustedProxies[{i}] is \"{options.TrustedProxies[i]}\": give a network, e.g. \"10.0.0.0/8\" or \"2001:db8::/32\".");
                }
            }

            return ValidateOptionsResult.Success;
        }
    }
}
