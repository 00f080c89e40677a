using System.Globalization;
using Bench.Processes;

namespace Bench.Peers;

/// <summary>How a number of devices got connected.</summary>
/// <param name="Tunnels">All that are up now.</param>
/// <param name="HandshakeBytes">Median of what the gateway sent for a handshake.</param>
/// <param name="Repeated">Dials that failed and were repeated.</param>
internal sealed record Dialled(int Tunnels, double Seconds, long HandshakeBytes, int Repeated);

/// <summary>Devices that do next to nothing (bench/IdleTunnels), a process of them.</summary>
internal sealed class TunnelSimulator(ChildProcess process)
{
    /// <summary>Longest time for all that one call asks for.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(15);

    public ChildProcess Process => process;

    /// <param name="number">Makes the source addresses of this process differ from another's; below 200.</param>
    public static TunnelSimulator Start(Stage stage, int port, string authority, IReadOnlyList<Device> devices, int number)
    {
        var list = stage.PathOf($"devices-{number}");
        File.WriteAllLines(list, devices.Select(static device => $"{device.Uuid} {device.Key}"));
        return new TunnelSimulator(stage.Start($"devices {number}", [Repository.IdleTunnels, $"{port}", authority, list, $"{number}"]));
    }

    /// <summary>Connects further devices.</summary>
    public async Task<Dialled> DialAsync(int count, CancellationToken cancellationToken)
    {
        var words = (await process.AskAsync($"dial {count}", "up ", Patience, cancellationToken)).Split(' ');
        return new Dialled(
            int.Parse(words[1], CultureInfo.InvariantCulture), double.Parse(words[2], CultureInfo.InvariantCulture),
            long.Parse(words[3], CultureInfo.InvariantCulture), int.Parse(words[4], CultureInfo.InvariantCulture));
    }

    /// <summary>Disconnects all.</summary>
    public Task DropAsync(CancellationToken cancellationToken) => process.AskAsync("drop", "down", Patience, cancellationToken);

    /// <summary>Whether TLS sessions are resumed from now on.</summary>
    public Task ResumeAsync(bool resumes, CancellationToken cancellationToken) => process.AskAsync(resumes ? "resume on" : "resume off", "resume", Patience, cancellationToken);
}
