using System.Diagnostics;
using System.Globalization;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>
/// Hosts in network namespaces on one bridge, whose cables can be cut: packets are dropped and nobody is told. The test
/// itself stands at the bridge, as visitors and devices do.
/// </summary>
internal sealed class LoadNetwork : IAsyncDisposable
{
    private readonly string _bridge = $"gwb{Guid.NewGuid():N}"[..12];
    private readonly List<(string Name, NetworkNamespace Namespace)> _hosts = [];
    private readonly int _third = Random.Shared.Next(1, 255);

    private LoadNetwork()
    {
    }

    public static async Task<LoadNetwork> CreateAsync(int hosts)
    {
        var network = new LoadNetwork();
        await IpAsync("link", "add", "name", network._bridge, "type", "bridge");
        await IpAsync("addr", "add", $"{network.AddressOf(253)}/24", "dev", network._bridge);
        await IpAsync("link", "set", network._bridge, "up");
        for (var i = 0; i < hosts; i++)
        {
            var space = await NetworkNamespace.CreateAsync();
            var cable = $"gwv{Guid.NewGuid():N}"[..12];
            await IpAsync("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space.Name);
            await IpAsync("link", "set", cable, "master", network._bridge, "up");
            await IpAsync("-n", space.Name, "addr", "add", $"{network.AddressOf(i)}/24", "dev", "eth0");
            await IpAsync("-n", space.Name, "link", "set", "eth0", "up");
            network._hosts.Add((cable, space));
        }

        return network;
    }

    public NetworkNamespace this[int host] => _hosts[host].Namespace;

    public string AddressOf(int host) => string.Create(CultureInfo.InvariantCulture, $"10.213.{_third}.{host + 1}");

    /// <summary>Drops what one host and another would send each other.</summary>
    public Task CutAsync(int one, int other) => CutAsync(one, ["-s", AddressOf(other)], ["-d", AddressOf(other)]);

    /// <summary>Drops what would reach a port of a host, and its answers.</summary>
    public Task CutPortAsync(int host, int port) => CutAsync(host, ["-p", "tcp", "--dport", $"{port}"], ["-p", "tcp", "--sport", $"{port}"]);

    /// <summary>Mends all that was cut at a host.</summary>
    public async Task MendAsync(int host) => Assert.Equal(0, (await this[host].RunAsync("iptables", "-F")).Status);

    public async ValueTask DisposeAsync()
    {
        foreach (var (_, space) in _hosts)
        {
            await space.DisposeAsync();
        }

        await IpAsync("link", "delete", _bridge);
    }

    private async Task CutAsync(int host, string[] incoming, string[] outgoing)
    {
        Assert.Equal(0, (await this[host].RunAsync("iptables", ["-A", "INPUT", .. incoming, "-j", "DROP"])).Status);
        Assert.Equal(0, (await this[host].RunAsync("iptables", ["-A", "OUTPUT", .. outgoing, "-j", "DROP"])).Status);
    }

    private static async Task IpAsync(params string[] arguments)
    {
        using var ip = Process.Start("ip", arguments);
        await ip.WaitForExitAsync();
        Assert.Equal(0, ip.ExitCode);
    }
}
