using System.Net;
using System.Threading.RateLimiting;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.Tokens;

/// <summary>
/// Counts wrong tokens by address. Beyond <see cref="AdminOptions.MaxFailuresPerMinute"/> the answer is 429; a right token is
/// never refused, so that colleagues behind the same address do not suffer.
/// </summary>
internal sealed partial class FailedLogins(IOptions<AdminOptions> options, ILogger<FailedLogins> logger) : IDisposable
{
    private readonly PartitionedRateLimiter<IPAddress> _limiter = PartitionedRateLimiter.Create<IPAddress, IPAddress>(address =>
        RateLimitPartition.GetFixedWindowLimiter(address, _ => new FixedWindowRateLimiterOptions
        {
            PermitLimit = options.Value.MaxFailuresPerMinute,
            Window = TimeSpan.FromMinutes(1),
        }));

    /// <summary>Counts a failure; false when there have been too many.</summary>
    public bool Count(IPAddress? address)
    {
        using var lease = _limiter.AttemptAcquire(Network(address));
        if (lease.IsAcquired)
        {
            LogWrong(logger, address);   // further ones would only fill the log
        }

        return lease.IsAcquired;
    }

    public void Dispose() => _limiter.Dispose();

    // A subscriber's IPv6 network is at least a /64 (RFC 6177): its addresses count as one.
    private static IPAddress Network(IPAddress? address)
    {
        if (address is null or { IsIPv4MappedToIPv6: true } or { AddressFamily: not System.Net.Sockets.AddressFamily.InterNetworkV6 })
        {
            return address is null ? IPAddress.None : address.MapToIPv4();
        }

        var bytes = address.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A wrong operator's token from {Address}")]
    private static partial void LogWrong(ILogger logger, IPAddress? address);
}
