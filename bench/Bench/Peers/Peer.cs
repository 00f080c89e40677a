using Bench.Visits;
using Bench.Processes;

namespace Bench.Peers;

/// <summary>A way from visitors to the application that can be started.</summary>
/// <param name="Name">As on the command line.</param>
/// <param name="Way">What a request passes.</param>
/// <param name="Programs">What must be installed.</param>
internal sealed record Peer(string Name, string Way, string[] Programs, Func<PeerGround, Task<RunningPeer>> StartAsync);

/// <summary>What peers are built on.</summary>
internal sealed record PeerGround(Stage Stage, Application Application, int ApplicationPort, Certificates Certificates);

/// <summary>A way that is up.</summary>
/// <param name="Address">Where visitors go, without a path.</param>
/// <param name="Host">The Host field that they send.</param>
/// <param name="Front">The processes before the way's long part; their children count with them.</param>
/// <param name="Device">Those on the device, without the application.</param>
/// <param name="Network">The namespace where visitors start; null for the machine's own.</param>
internal sealed record RunningPeer(Peer Peer, string Address, string Host, IReadOnlyList<ChildProcess> Front, IReadOnlyList<ChildProcess> Device, string? Network = null)
{
    public string Name => Peer.Name;

    public IEnumerable<int> FrontIds => Front.Select(static process => process.Id);

    public IEnumerable<int> DeviceIds => Device.Select(static process => process.Id);

    /// <summary>Waits until the application answers through it.</summary>
    public async Task AnswersAsync(Stage stage)
    {
        foreach (var process in Front.Concat(Device))
        {
            await Curl.AnswersAsync(stage, Address, Host, $"{Name} does not answer", process, Network);
        }
    }
}
