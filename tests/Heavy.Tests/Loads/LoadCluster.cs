using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>
/// Nodes as operators run them: processes with settings of their own accord, on one Redis, behind HAProxy in TCP mode that asks
/// each node's <c>/readyz</c>. Visitors come without TLS, devices with it.
/// </summary>
internal sealed class LoadCluster : IAsyncDisposable
{
    private const string Secret = "a secret of the loads, 32 characters and more";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-load-");
    private readonly List<GatewayProcess> _nodes = [];
    private readonly List<int> _httpsPorts = [];
    private readonly LoadNetwork? _network;
    private readonly List<string> _settings;
    private ChildProcess? _balancer;
    private int _fleets;

    private LoadCluster(LoadNetwork? network, string redis, string[] settings)
    {
        _network = network;
        _settings =
        [
            $"Storage:Redis={redis}", $"Edge:Domains:0={TestGateway.Domain}", $"Cluster:Secret={Secret}",
            $"Certificates:File={TestCertificates.Shared.CertificateFile}", $"Certificates:KeyFile={TestCertificates.Shared.KeyFile}", .. settings,
        ];
    }

    /// <summary>Where nodes with a network of their own take devices.</summary>
    public static int InnerHttpsPort => 8082;

    public IReadOnlyList<GatewayProcess> Nodes => _nodes;

    /// <summary>Where visitors reach a node that is ready.</summary>
    public int VisitorPort { get; } = RedisServer.FreePort();

    /// <summary>Where devices do, with TLS.</summary>
    public int DevicePort { get; } = RedisServer.FreePort();

    /// <summary>Nodes on loopback.</summary>
    public static Task<LoadCluster> StartAsync(int nodes, string redis, params string[] settings) => StartAsync(nodes, null, redis, settings);

    /// <summary>Nodes that are the first hosts of a network.</summary>
    public static async Task<LoadCluster> StartAsync(int nodes, LoadNetwork? network, string redis, params string[] settings)
    {
        var cluster = new LoadCluster(network, redis, settings);
        try
        {
            for (var i = 0; i < nodes; i++)
            {
                await cluster.AddNodeAsync();
            }

            await cluster.StartBalancerAsync();
            foreach (var node in cluster.Nodes)
            {
                await cluster.KnowsAllAsync(node);
            }

            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>The port on which a node takes devices.</summary>
    public int HttpsPortOf(GatewayProcess node) => _httpsPorts[_nodes.IndexOf(node)];

    /// <summary>Where visitors reach a node without a balancer.</summary>
    public IPEndPoint VisitorEndPointOf(int node) => new(IPAddress.Parse(AddressOf(node)), _nodes[node].Port);

    /// <summary>SIGTERM, its end, and a new start: until the node is ready and the balancer may know.</summary>
    public async Task RollAsync(GatewayProcess node)
    {
        node.Process.Signal("TERM");
        await node.Process.ExitsWithinAsync(TimeSpan.FromMinutes(1));
        await StartAgainAsync(node);
    }

    /// <summary>Starts a node that has ended, until it knows the others.</summary>
    public async Task StartAgainAsync(GatewayProcess node)
    {
        await node.RestartAsync();
        await KnowsAllAsync(node);
    }

    /// <summary>Devices with tunnels to nodes that the balancer chooses, in a process of their own; returns when all are up.</summary>
    public async Task<Fleet> StartFleetAsync(IReadOnlyList<TestDevice> devices, int connections, int? port = null)
    {
        var fleet = await LaunchFleetAsync(devices, connections, port);
        await fleet.AreUpAsync(devices.Count * Math.Min(connections, _nodes.Count), TimeSpan.FromMinutes(3));
        return fleet;
    }

    /// <summary>The same, without waiting.</summary>
    /// <param name="devices">Whose tunnels.</param>
    /// <param name="connections">Tunnels of each.</param>
    /// <param name="port">Where; of the balancer if not given.</param>
    /// <param name="perSecond">
    /// How many devices begin to dial in a second; all at once if not given. For thousands in one process: it would begin all of them before
    /// it answers any, and be seconds late with each one's part of the handshake, which no device with a processor of its own is.
    /// </param>
    /// <param name="isIdle">
    /// Whether the process gets only the processor time that nobody else wants, at once and not after its slice (SCHED_IDLE, sched(7)):
    /// real devices compute on machines of their own.
    /// </param>
    public async Task<Fleet> LaunchFleetAsync(IReadOnlyList<TestDevice> devices, int connections, int? port = null, int? perSecond = null, bool isIdle = false)
    {
        var list = Path.Combine(_folder.FullName, $"fleet-{_fleets++}");
        await File.WriteAllLinesAsync(list, devices.Select(static device => $"{device.Uuid} {device.Key}"));
        return new Fleet(ChildProcess.Start(
            [.. isIdle ? ["chrt", "--idle", "0"] : Array.Empty<string>(), "dotnet", Path.Combine(AppContext.BaseDirectory, "fleet.dll"), $"https://tunnel.{TestGateway.Domain}:{port ?? DevicePort}", TestCertificates.Shared.AuthorityFile, list, string.Create(CultureInfo.InvariantCulture, $"{connections}"),
            .. perSecond is { } pace ? [string.Create(CultureInfo.InvariantCulture, $"{pace}")] : Array.Empty<string>()]));
    }

    public async ValueTask DisposeAsync()
    {
        if (_balancer is not null)
        {
            await _balancer.DisposeAsync();
        }

        foreach (var node in _nodes)
        {
            await node.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    private string AddressOf(int node) => _network?.AddressOf(node) ?? "127.0.0.1";

    private async Task AddNodeAsync()
    {
        var i = _nodes.Count;
        var https = _network is null ? RedisServer.FreePort() : InnerHttpsPort;
        _httpsPorts.Add(https);
        List<string> settings = [.. _settings, "Limits:Exempt:0=10.213.0.0/16", $"Listen:Https={AddressOf(i)}:{https}", $"Cluster:Node=node-{i}", $"Cluster:Listen={AddressOf(i)}:{(_network is null ? RedisServer.FreePort() : 8443)}"];
        if (_network is not null)
        {
            settings.AddRange([$"Listen:Http={AddressOf(i)}:8080", $"Listen:Admin={AddressOf(i)}:8081"]);
        }

        _nodes.Add(await GatewayProcess.StartAsync(_network?[i], [.. settings]));
    }

    private async Task StartBalancerAsync()
    {
        var file = Path.Combine(_folder.FullName, "haproxy.cfg");
        await File.WriteAllTextAsync(file, $"""
            global
              maxconn 4000
            defaults
              mode tcp
              timeout connect 2s
              timeout client 1h
              timeout server 1h
              option redispatch
              option httpchk GET /readyz
              default-server inter 500ms fall 1 rise 1
            listen visitors
              bind 127.0.0.1:{VisitorPort}
              balance roundrobin
              {string.Join("\n  ", _nodes.Select((node, i) => $"server node-{i} {AddressOf(i)}:{node.Port} check port {node.AdminPort}"))}
            listen devices
              bind 127.0.0.1:{DevicePort}
              balance roundrobin
              {string.Join("\n  ", _nodes.Select((node, i) => $"server node-{i} {AddressOf(i)}:{HttpsPortOf(node)} check port {node.AdminPort}"))}

            """);
        _balancer = ChildProcess.Start(["haproxy", "-db", "-f", file]);
        await Eventually.TrueAsync(
            async () =>
            {
                Assert.False(_balancer.HasExited, _balancer.Output);
                try
                {
                    await using var probe = await RawConnection.OpenAsync(VisitorPort);
                    return true;
                }
                catch (System.Net.Sockets.SocketException)
                {
                    return false;
                }
            },
            "HAProxy listens");
    }

    private async Task KnowsAllAsync(GatewayProcess node)
    {
        // Of the others' coming it speaks in its log; of its own readiness the balancer is told.
        using var http = new HttpClient();
        await Eventually.TrueAsync(
            async () =>
            {
                using var answer = await http.GetAsync(new Uri($"http://{AddressOf(_nodes.IndexOf(node))}:{node.AdminPort}/readyz"));
                return answer.IsSuccessStatusCode && Enumerable.Range(0, _nodes.Count).Where(i => _nodes[i] != node)
                    .All(i => node.Process.Output.Contains($"Node node-{i} is there", StringComparison.Ordinal));
            },
            "the node is ready and knows the others");
    }
}

/// <summary>The devices of a load (bench/Fleet).</summary>
internal sealed class Fleet(ChildProcess process) : IAsyncDisposable
{
    public ChildProcess Process => process;

    /// <summary>Tunnels and devices that are up, as the devices see it.</summary>
    public (int Tunnels, int Devices) Up => process.Output.Split('\n').LastOrDefault(static line => line.StartsWith("up ", StringComparison.Ordinal)) is { } line
        && line.Split(' ') is [_, var tunnels, var devices]
        ? (int.Parse(tunnels, CultureInfo.InvariantCulture), int.Parse(devices, CultureInfo.InvariantCulture))
        : default;

    /// <summary>Requests that the application has got more than once.</summary>
    public int Repeats => process.Output.Split('\n').Count(static line => line.StartsWith("twice ", StringComparison.Ordinal));

    public async Task AreUpAsync(int tunnels, TimeSpan patience)
    {
        var until = DateTime.UtcNow + patience;
        while (Up.Tunnels < tunnels)
        {
            Assert.True(DateTime.UtcNow < until && !process.HasExited, $"{tunnels} tunnels did not come up: {process.Output}");
            await Task.Delay(100, TestContext.Current.CancellationToken);
        }
    }

    public ValueTask DisposeAsync() => process.DisposeAsync();
}
