using System.Globalization;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>How many connections and tunnels this node takes on.</summary>
internal sealed class NodeBudget(IOptions<LimitOptions> options)
{
    private readonly int _maxConnections = options.Value.Node.Connections is > 0 and var connections ? connections : ShareOfFiles(0.95);
    private readonly int _maxTunnels = options.Value.Node.Tunnels is > 0 and var tunnels ? tunnels : ShareOfFiles(0.9);
    private int _connections;
    private int _tunnels;

    public bool TryConnect() => Counting.TryAdd(ref _connections, _maxConnections);

    public void Disconnect() => Interlocked.Decrement(ref _connections);

    public bool TryTunnel() => Counting.TryAdd(ref _tunnels, _maxTunnels);

    public void EndTunnel() => Interlocked.Decrement(ref _tunnels);

    // "Max open files            20000                20000                files"; without a number there is no limit.
    private static int ShareOfFiles(double share)
    {
        try
        {
            var line = File.ReadLines("/proc/self/limits").FirstOrDefault(static line => line.StartsWith("Max open files", StringComparison.Ordinal));
            var words = line?.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return words is [_, _, _, var soft, ..] && int.TryParse(soft, NumberStyles.None, CultureInfo.InvariantCulture, out var files) ? (int)(files * share) : 0;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }
}
