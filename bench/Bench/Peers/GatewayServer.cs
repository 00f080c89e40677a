using System.Net.Sockets;
using Bench.Processes;

namespace Bench.Peers;

/// <summary>One node of the gateway.</summary>
internal sealed class GatewayServer
{
    private GatewayServer(ChildProcess process, int http, int https) => (Process, Http, Https) = (process, http, https);

    public ChildProcess Process { get; }

    /// <summary>Where visitors come without TLS.</summary>
    public int Http { get; }

    /// <summary>Where devices dial, and visitors come with TLS.</summary>
    public int Https { get; }

    /// <summary>Starts it, until it listens.</summary>
    /// <param name="address">Where it listens.</param>
    /// <param name="settings">Further ones, "Key=value".</param>
    public static async Task<GatewayServer> StartAsync(
        Stage stage, RedisServer redis, (string Certificate, string Key) tls, string name = "gateway", string? network = null, string address = "127.0.0.1", params string[] settings)
    {
        var (http, https) = (Stage.FreePort(), Stage.FreePort());
        string[] all =
        [
            $"Storage:Redis={redis.ConnectionString}", $"Listen:Http={address}:{http}", $"Listen:Https={address}:{https}", "Listen:Admin=", "Edge:RedirectToHttps=false",
            $"Certificates:File={tls.Certificate}", $"Certificates:KeyFile={tls.Key}", "Listen:DrainTimeout=00:00:01", "Listen:DrainDelay=00:00:00", .. settings,
        ];
        var process = stage.Start(name, [Repository.Gateway, .. all.SelectMany(static setting => (string[])["--set", setting])], network);
        if (network is null)
        {
            await stage.UntilAsync($"{name} does not listen", () => Task.FromResult(Listens(https)), process);
        }

        return new GatewayServer(process, http, https);
    }

    /// <summary>Whether somebody listens on a port of loopback.</summary>
    public static bool Listens(int port)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Connect("127.0.0.1", port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}

/// <summary>The device's agent, one tunnel.</summary>
internal static class Agent
{
    public static ChildProcess Start(Stage stage, Device device, Uri gateway, string authority, int applicationPort, string name = "agent", string? network = null) => stage.Start(
        name,
        [
            Repository.Agent, "--gateway", gateway.ToString(), "--uuid", $"{device.Uuid}", "--key-file", stage.Write($"{name}-key", device.Key), "--ca", authority,
            "--target", $"http://127.0.0.1:{applicationPort}", "--connections", "1",
        ],
        network);
}
