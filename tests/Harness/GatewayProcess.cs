using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Gateway.Devices;
using Gateway.Storage;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Harness;

/// <summary>A gateway as operators run it: its own process, its own files, no TLS.</summary>
internal sealed class GatewayProcess : IAsyncDisposable
{
    private readonly DirectoryInfo _folder;
    private readonly IReadOnlyList<string> _enter;
    private readonly List<string> _settings;
    private Dictionary<string, string?>? _environment;
    private ChildProcess _process = null!;

    private GatewayProcess(DirectoryInfo folder, IReadOnlyList<string> enter, List<string> settings, int port, int adminPort) =>
        (_folder, _enter, _settings, Port, AdminPort) = (folder, enter, settings, port, adminPort);

    public int Port { get; }

    public int AdminPort { get; }

    public ChildProcess Process => _process;

    public string TunnelAddress => $"http://tunnel.localhost:{Port}";

    /// <summary>Starts a gateway and waits until it is ready.</summary>
    /// <param name="network">Where it runs; null: among the test's own loopback ports.</param>
    /// <param name="settings">Settings that differ from the tests' own, as key=value.</param>
    public static Task<GatewayProcess> StartAsync(NetworkNamespace? network = null, params string[] settings) => StartAsync(network, null, settings);

    /// <summary>Starts a gateway with environment variables of its own, and waits until it is ready.</summary>
    public static Task<GatewayProcess> StartWithAsync(Dictionary<string, string?> environment, params string[] settings) => StartAsync(null, environment, settings);

    private static async Task<GatewayProcess> StartAsync(NetworkNamespace? network, Dictionary<string, string?>? environment, string[] settings)
    {
        var folder = Directory.CreateTempSubdirectory("gateway-");
        var (port, admin) = network is null ? (RedisServer.FreePort(), RedisServer.FreePort()) : (8080, 8081);
        List<string> all = ["Edge:Domains:0=localhost", $"Listen:Http=127.0.0.1:{port}", "Listen:Https=", $"Listen:Admin=127.0.0.1:{admin}", "Edge:RedirectToHttps=false", $"Cluster:Node=test-{Guid.NewGuid():N}"];

        // A network of its own does not reach the shared server.
        all.AddRange(network is null
            ? (await TestStore.SettingsAsync(Path.Combine(folder.FullName, "data"))).Select(static setting => $"{setting.Key}={setting.Value}")
            : [$"Storage:DataDirectory={Path.Combine(folder.FullName, "data")}"]);
        all.AddRange(settings);
        var gateway = new GatewayProcess(folder, [.. network?.Enter ?? []], [.. all.SelectMany(static setting => new[] { "--set", setting })], port, admin) { _environment = environment };
        try
        {
            await gateway.RestartAsync();
            return gateway;
        }
        catch
        {
            await gateway.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts the process, anew if there was one.</summary>
    public async Task RestartAsync()
    {
        if (_process is not null)
        {
            await _process.DisposeAsync();
        }

        _process = Run();
        await _process.WaitForOutputAsync("Connected to Redis");
        await _process.WaitForOutputAsync("Listening on");
    }

    /// <summary>Runs a verb of the command line on the same store.</summary>
    public async Task<string> CommandAsync(params string[] verb)
    {
        await using var command = Run(verb);
        Assert.Equal(0, await command.WaitForExitAsync());
        return command.Output;
    }

    /// <summary>Adds a device with its public URL enabled, as operators do.</summary>
    public async Task<TestDevice> AddDeviceAsync()
    {
        var lines = (await CommandAsync("device", "add", "--public-url")).Split('\n', StringSplitOptions.TrimEntries)
            .Select(static line => line.Split(':', 2, StringSplitOptions.TrimEntries))
            .Where(static parts => parts.Length == 2)
            .ToDictionary(static parts => parts[0], static parts => parts[1], StringComparer.Ordinal);
        return new TestDevice(DeviceUuid.Parse(lines["uuid"]), lines["key"]);
    }

    /// <summary>Adds many devices with their public URLs enabled, straight into the store.</summary>
    public async Task<IReadOnlyList<TestDevice>> AddDevicesAsync(int count)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Configuration.AddInMemoryCollection(_settings.Where(static setting => setting != "--set")
            .Select(static setting => setting.Split('=', 2)).GroupBy(static pair => pair[0], static pair => pair[1], StringComparer.OrdinalIgnoreCase)
            .Select(static values => new KeyValuePair<string, string?>(values.Key, values.Last())));
        builder.AddStorage();
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton<DeviceStore>();
        await using var services = builder.Services.BuildServiceProvider();
        var redis = services.GetRequiredService<RedisConnection>();
        await redis.StartAsync(CancellationToken.None);
        await redis.FirstConnected;
        var devices = new List<TestDevice>();
        for (var i = 0; i < count; i++)
        {
            var (key, hash) = DeviceKeyHash.New();
            devices.Add(new TestDevice(DeviceUuid.New(), key));
            Assert.True(await services.GetRequiredService<DeviceStore>().AddAsync(devices[^1].Uuid, hash, null, publicUrl: true));
        }

        return devices;
    }

    /// <summary>The agent of a device, as a process.</summary>
    public ChildProcess StartAgent(TestDevice device, string? target = null, Dictionary<string, string?>? environment = null) => ChildProcess.Start(
        [.. _enter, "dotnet", Path.Combine(AppContext.BaseDirectory, "gateway-agent.dll"), "--gateway", TunnelAddress, "--uuid", $"{device.Uuid}", .. target is null ? Array.Empty<string>() : ["--target", target]],
        new Dictionary<string, string?>(environment ?? [], StringComparer.Ordinal) { ["GATEWAY_KEY"] = device.Key });

    /// <summary>A visitor's address of a device.</summary>
    public string Url(TestDevice device, string path = "/") => $"http://{device.Uuid}.localhost:{Port}{path}";

    /// <summary>A visitor whose every host leads to this gateway.</summary>
    public HttpClient CreateVisitor() => new(new SocketsHttpHandler
    {
        UseProxy = false,
        ConnectCallback = async (_, cancellationToken) =>
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            await socket.ConnectAsync(IPAddress.Loopback, Port, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        },
    })
    {
        Timeout = TimeSpan.FromMinutes(2),
    };

    /// <summary>The most memory that the process has had resident so far, in bytes.</summary>
    public static long PeakMemory(ChildProcess process) => Status(process, "VmHWM") * 1024;

    /// <summary>The memory that the process has resident now, in bytes.</summary>
    public static long Memory(ChildProcess process) => Status(process, "VmRSS") * 1024;

    /// <summary>The processor time that the process has used so far (utime and stime of proc(5), in hundredths).</summary>
    public static TimeSpan CpuTime(ChildProcess process)
    {
        var fields = File.ReadAllText($"/proc/{process.Id}/stat").Split(')')[^1].Split(' ');
        return TimeSpan.FromMilliseconds(10 * (long.Parse(fields[12], CultureInfo.InvariantCulture) + long.Parse(fields[13], CultureInfo.InvariantCulture)));
    }

    /// <summary>The descriptors that the process has open.</summary>
    public static int Descriptors(ChildProcess process) => Directory.GetFileSystemEntries($"/proc/{process.Id}/fd").Length;

    private static long Status(ChildProcess process, string field) => long.Parse(
        File.ReadLines($"/proc/{process.Id}/status").First(line => line.StartsWith($"{field}:", StringComparison.Ordinal)).Split(':')[1].Replace("kB", "", StringComparison.Ordinal).Trim(),
        CultureInfo.InvariantCulture);

    public async ValueTask DisposeAsync()
    {
        await _process.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private ChildProcess Run(params string[] verb) =>
        ChildProcess.Start([.. _enter, "dotnet", Path.Combine(AppContext.BaseDirectory, "gateway.dll"), .. verb, .. _settings], _environment);
}
