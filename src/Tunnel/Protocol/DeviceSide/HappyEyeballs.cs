using System.Net;
using System.Net.Sockets;

namespace Tunnel.Protocol.DeviceSide;

/// <summary>
/// Connects to the first address of a name that answers (RFC 8305): attempts start 250 ms apart, families in turn, so
/// that a network whose IPv6 leads nowhere costs no timeout. The platform tries one address after the other.
/// </summary>
internal static class HappyEyeballs
{
    private static readonly TimeSpan AttemptDelay = TimeSpan.FromMilliseconds(250);

    /// <exception cref="SocketException">The name has no address, or none of them answers.</exception>
    public static async Task<Socket> ConnectAsync(DnsEndPoint target, CancellationToken cancellationToken)
    {
        var addresses = Interleave(await ResolveAsync(target.Host, cancellationToken));
        using var losers = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var attempts = new List<Task<Socket>>();
        var waiting = new Queue<IPAddress>(addresses);
        while (true)
        {
            if (waiting.TryDequeue(out var address))
            {
                attempts.Add(ConnectAsync(new IPEndPoint(address, target.Port), losers.Token));
            }

            var delay = waiting.Count > 0 ? Task.Delay(AttemptDelay, losers.Token) : Task.Delay(Timeout.Infinite, losers.Token);
            var first = await Task.WhenAny(attempts.Append(delay));
            cancellationToken.ThrowIfCancellationRequested();
            if (first is not Task<Socket> attempt)
            {
                continue;
            }

            attempts.Remove(attempt);
            if (attempt.IsCompletedSuccessfully || (attempts.Count == 0 && waiting.Count == 0))
            {
                await losers.CancelAsync();
                attempts.ForEach(static loser => _ = loser.ContinueWith(
                    static late => late.Result.Dispose(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default));
                return await attempt;
            }
        }
    }

    // Names under localhost are this machine, whether its resolver knows them or not (RFC 6761 section 6.3).
    private static Task<IPAddress[]> ResolveAsync(string host, CancellationToken cancellationToken) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase)
            ? Task.FromResult<IPAddress[]>([IPAddress.Loopback, IPAddress.IPv6Loopback])
            : Dns.GetHostAddressesAsync(host, cancellationToken);

    private static async Task<Socket> ConnectAsync(IPEndPoint endpoint, CancellationToken cancellationToken)
    {
        var socket = new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    // The system's order decides which family goes first (RFC 6724).
    private static IEnumerable<IPAddress> Interleave(IPAddress[] addresses)
    {
        var firstFamily = addresses.Where(address => address.AddressFamily == addresses[0].AddressFamily).ToArray();
        var others = addresses.Except(firstFamily).ToArray();
        for (var i = 0; i < Math.Max(firstFamily.Length, others.Length); i++)
        {
            if (i < firstFamily.Length)
            {
                yield return firstFamily[i];
            }

            if (i < others.Length)
            {
                yield return others[i];
            }
        }
    }
}
