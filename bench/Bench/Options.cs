using System.Globalization;
using Bench.Processes;

namespace Bench;

/// <summary>What the command line says.</summary>
internal sealed record Options
{
    /// <summary>The measurements, in the order in which they are made.</summary>
    public static readonly string[] Measurements = ["small", "one", "big", "newconn", "wan", "idle", "handshakes", "cluster", "soak"];

    private static readonly string[] ByDefault = ["small", "one", "big", "idle"];

    public static readonly string[] PeerNames = ["yarp", "nginx", "gateway", "hops", "ssh", "openvpn", "pagekite"];

    public const string Usage = """
        Usage: bench/run [options]

        Measures the gateway beside other ways to the same application, in interleaved rounds. Tables go to standard output,
        progress to standard error, every single figure into a results file. Ctrl-C ends all that was started.

          --only A,B         measurements: small, one, big, newconn, wan, idle, handshakes, cluster, soak
                             (default small, one, big, and idle at --tunnels alone)
          --all              all of them, idle at 1,000, 5,000, 10,000 and 18,000 tunnels
          --peers X,Y        ways: yarp, nginx, gateway, hops, ssh, openvpn, pagekite (default all; yarp and gateway always take part)
          --rounds N         rounds of each way (default 5)
          --seconds N        length of one measurement (default 5)
          --warmup N         seconds of load before the first round, for each way (default 15)
          --big-mb N         size of a large body on loopback (default 100)
          --wan-mb N         size of a large body over the long line (default 10)
          --rtt N            round trip of the long line in ms (default 100)
          --loss N           packets per 100,000 that the long line loses, each way (default 100: 0.1 %)
          --tunnels N,M      idle: numbers of TLS tunnels of one gateway process (default 10000)
          --nodes N          cluster: gateways on one Redis (default 5)
          --node-tunnels N   cluster: tunnels of each (default 18000)
          --devices N        handshakes: devices that come back (default 10000)
          --soak-minutes N   soak: length (default 30)
          --one-group        all programs in one session, and so one scheduling group, instead of a session each
          --results DIR      where the results file goes (default bench/results)
          --page             makes nothing but the tables of docs/benchmarks.md, from the newest results files
          -h, --help         this text

        Needs the .NET SDK; root on Debian for what bench/run installs, for network namespaces and for OpenVPN.
        Exit status: 0 done, 1 a measurement failed, 2 wrong usage, 130 interrupted.
        """;

    public IReadOnlyList<string> Only { get; init; } = ByDefault;
    public IReadOnlyList<string> Peers { get; init; } = PeerNames;
    public int Rounds { get; init; } = 5;
    public int Seconds { get; init; } = 5;
    public int Warmup { get; init; } = 15;
    public int BigMb { get; init; } = 100;
    public int WanMb { get; init; } = 10;
    public int Rtt { get; init; } = 100;
    public int Loss { get; init; } = 100;
    public IReadOnlyList<int> Tunnels { get; init; } = [10_000];
    public int Nodes { get; init; } = 5;
    public int NodeTunnels { get; init; } = 18_000;
    public int Devices { get; init; } = 10_000;
    public int SoakMinutes { get; init; } = 30;
    public bool OneGroup { get; init; }
    public string Results { get; init; } = "";
    public bool Page { get; init; }
    public bool Help { get; init; }

    /// <exception cref="BenchException">An argument is wrong; the message names it.</exception>
    public static Options Parse(IReadOnlyList<string> arguments)
    {
        var options = new Options { Results = Repository.File("bench/results") };
        for (var i = 0; i < arguments.Count; i++)
        {
            var name = arguments[i];
            options = name switch
            {
                "--only" => options with { Only = Names(Value(), Measurements) },
                "--all" => options with { Only = Measurements, Tunnels = [1_000, 5_000, 10_000, 18_000] },
                "--peers" => options with { Peers = Names(Value(), PeerNames) },
                "--rounds" => options with { Rounds = Number(Value(), 1) },
                "--seconds" => options with { Seconds = Number(Value(), 1) },
                "--warmup" => options with { Warmup = Number(Value(), 0) },
                "--big-mb" => options with { BigMb = Number(Value(), 1) },
                "--wan-mb" => options with { WanMb = Number(Value(), 1) },
                "--rtt" => options with { Rtt = Number(Value(), 0) },
                "--loss" => options with { Loss = Number(Value(), 0) },
                "--tunnels" => options with { Tunnels = [.. Value().Split(',').Select(part => Number(part, 1))] },
                "--nodes" => options with { Nodes = Number(Value(), 1) },
                "--node-tunnels" => options with { NodeTunnels = Number(Value(), 1) },
                "--devices" => options with { Devices = Number(Value(), 1) },
                "--soak-minutes" => options with { SoakMinutes = Number(Value(), 3) },
                "--one-group" => options with { OneGroup = true },
                "--results" => options with { Results = Path.GetFullPath(Value()) },
                "--page" => options with { Page = true },
                "-h" or "--help" => options with { Help = true },
                _ => throw new BenchException($"unknown argument {name}; bench/run --help lists them"),
            };

            string Value() => ++i < arguments.Count ? arguments[i] : throw new BenchException($"{name} needs a value");

            int Number(string text, int least) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least
                ? number
                : throw new BenchException($"{name} {text}: give a number, at least {least}");

            string[] Names(string text, string[] known)
            {
                var given = text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
                var wrong = given.Except(known, StringComparer.Ordinal).FirstOrDefault();
                return given.Length > 0 && wrong is null ? given : throw new BenchException($"{name}: there is no \"{wrong ?? text}\"; give {string.Join(", ", known)}");
            }
        }

        return options;
    }

    /// <summary>The command line as the record shows it: without where this machine keeps its results.</summary>
    public static string Shown(IReadOnlyList<string> arguments) =>
        string.Join(' ', arguments.Where((argument, i) => argument != "--results" && (i == 0 || arguments[i - 1] != "--results")).Prepend("bench/run"));

    /// <summary>The numbers, for the results file.</summary>
    public SortedDictionary<string, double> ToDictionary() => new(StringComparer.Ordinal)
    {
        ["rounds"] = Rounds, ["seconds"] = Seconds, ["warmup"] = Warmup, ["bigMb"] = BigMb, ["wanMb"] = WanMb, ["rttMs"] = Rtt, ["lossPer100000"] = Loss,
        ["nodes"] = Nodes, ["nodeTunnels"] = NodeTunnels, ["devices"] = Devices, ["soakMinutes"] = SoakMinutes,
    };
}
