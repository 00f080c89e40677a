using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace Gateway.Tests.Harness;

/// <summary>
/// Where the gateways under test keep their devices: the embedded server, or Debian's redis-server when
/// GATEWAY_TEST_STORE is "redis". The whole suite runs on either.
/// </summary>
internal static class TestStore
{
    public static readonly bool IsRedis = Environment.GetEnvironmentVariable("GATEWAY_TEST_STORE") == "redis";

    private static readonly Lazy<Task<RedisServer>> Server = new(() => RedisServer.StartAsync());

    /// <summary>The settings of a gateway's store.</summary>
    public static async Task<Dictionary<string, string?>> SettingsAsync(string dataDirectory) => IsRedis
        ? new() { ["Storage:Redis"] = (await Server.Value).ConnectionString }
        : new() { ["Storage:DataDirectory"] = dataDirectory };
}

/// <summary>A redis-server process of a test's own.</summary>
internal sealed class RedisServer : IAsyncDisposable
{
    private const int FirstPort = 10_000;
    private const int LastPort = 32_000;

    private static int _ports;

    private readonly string _folder;
    private Process _process;

    private RedisServer(string folder, int port, Process process) => (_folder, Port, _process) = (folder, port, process);

    public int Port { get; }

    public string ConnectionString => $"127.0.0.1:{Port}";

    public static async Task<RedisServer> StartAsync(int? port = null)
    {
        var folder = Directory.CreateTempSubdirectory("gateway-redis-").FullName;
        var chosen = port ?? FreePort();
        var server = new RedisServer(folder, chosen, Launch(folder, chosen));
        AppDomain.CurrentDomain.ProcessExit += server.OnProcessExit;
        await server.WaitUntilItAnswersAsync();
        return server;
    }

    /// <summary>
    /// A loopback port that nobody listens on and that this process was not given before. It lies below those that the
    /// kernel gives to outgoing connections, so that none of these takes it before the test does.
    /// </summary>
    public static int FreePort()
    {
        while (true)
        {
            var port = FirstPort + (int)((uint)(Interlocked.Increment(ref _ports) + Environment.ProcessId * 61) % (LastPort - FirstPort));
            try
            {
                using var listener = new TcpListener(IPAddress.Loopback, port);
                listener.Start();
                using var datagrams = new UdpClient(new IPEndPoint(IPAddress.Loopback, port));
                return port;
            }
            catch (SocketException)
            {
                // Taken.
            }
        }
    }

    /// <summary>Forgets everything.</summary>
    public async Task FlushAsync()
    {
        await using var connection = await RawConnection.OpenAsync(Port);
        await connection.SendAsync("FLUSHALL\r\n");
        Assert.Equal("+OK", await connection.ReadAsync(3));
    }

    /// <summary>SIGKILL.</summary>
    public void Kill()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }
    }

    /// <summary>Starts again on the same port with the same files.</summary>
    public async Task RestartAsync()
    {
        Kill();
        _process = Launch(_folder, Port);
        await WaitUntilItAnswersAsync();
    }

    private void OnProcessExit(object? sender, EventArgs e) => Kill();

    public ValueTask DisposeAsync()
    {
        AppDomain.CurrentDomain.ProcessExit -= OnProcessExit;
        Kill();
        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
        return ValueTask.CompletedTask;
    }

    private static Process Launch(string folder, int port) => Process.Start(new ProcessStartInfo(
        "redis-server", ["--port", $"{port}", "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    {
        RedirectStandardOutput = true,
        UseShellExecute = false,
    })!;

    private Task WaitUntilItAnswersAsync() => Eventually.TrueAsync(
        async () =>
        {
            try
            {
                await using var probe = await RawConnection.OpenAsync(Port);
                await probe.SendAsync("PING\r\n");
                return await probe.ReadAsync(5) == "+PONG";
            }
            catch (SocketException)
            {
                return false;
            }
        },
        "redis-server answers");
}
