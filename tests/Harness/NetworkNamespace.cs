using System.Diagnostics;

namespace Gateway.Tests.Harness;

/// <summary>A network of the test's own, with nothing in it but loopback: every port is free, 80 too.</summary>
internal sealed class NetworkNamespace : IAsyncDisposable
{
    private readonly string _name;

    private NetworkNamespace(string name) => _name = name;

    public static async Task<NetworkNamespace> CreateAsync()
    {
        var created = new NetworkNamespace($"gw-{Guid.NewGuid():N}"[..12]);
        await IpAsync("netns", "add", created._name);
        await IpAsync("-n", created._name, "link", "set", "lo", "up");
        return created;
    }

    public string Name => _name;

    /// <summary>The words that start a program inside, to be put before it.</summary>
    public IEnumerable<string> Enter => ["ip", "netns", "exec", _name];

    /// <summary>Runs a program inside to its end.</summary>
    public async Task<(int Status, string Output)> RunAsync(string program, params string[] arguments)
    {
        await using var process = ChildProcess.Start([.. Enter, program, .. arguments]);
        return (await process.WaitForExitAsync(), process.Output);
    }

    public async ValueTask DisposeAsync() => await IpAsync("netns", "delete", _name);

    private static async Task IpAsync(params string[] arguments)
    {
        using var ip = Process.Start("ip", arguments);
        await ip.WaitForExitAsync();
        Assert.Equal(0, ip.ExitCode);
    }
}
