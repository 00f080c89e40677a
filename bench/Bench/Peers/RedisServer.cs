using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Bench.Processes;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Bench.Peers;

/// <summary>A device that the store knows.</summary>
internal sealed record Device(DeviceUuid Uuid, string Key)
{
    /// <summary>What visitors ask for.</summary>
    public string Host => $"{Uuid}.localhost";
}

/// <summary>redis-server in a process of its own, so that no figure of the gateway holds the store's share.</summary>
internal sealed class RedisServer
{
    private const int AtOnce = 1000;

    private readonly string _socket;

    private RedisServer(ChildProcess process, int port, string socket) => (Process, Port, _socket) = (process, port, socket);

    public ChildProcess Process { get; }

    public int Port { get; }

    public string ConnectionString => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{Port}");

    public static async Task<RedisServer> StartAsync(Stage stage, string? network = null)
    {
        var port = Stage.FreePort();
        var socket = stage.PathOf("redis.sock"); // reaches into namespaces
        var process = stage.Start("redis-server", ["redis-server", "--port", $"{port}", "--bind", "127.0.0.1", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", stage.PathOf("")], network);
        await process.WaitForLineAsync("Ready to accept connections", TimeSpan.FromSeconds(10), stage.Stopping);
        return new RedisServer(process, port, socket);
    }

    /// <summary>Makes devices whose public URL is on.</summary>
    public async Task<IReadOnlyList<Device>> AddDevicesAsync(int count)
    {
        var options = new ConfigurationOptions();
        options.EndPoints.Add(new UnixDomainSocketEndPoint(_socket));
        await using var redis = await ConnectionMultiplexer.ConnectAsync(options);
        var database = redis.GetDatabase();
        Device[] devices = [.. Enumerable.Range(0, count).Select(static _ => NewDevice())];
        foreach (var chunk in devices.Chunk(AtOnce))
        {
            await Task.WhenAll(chunk.Select(device =>
            {
                var (key, fields) = RecordOf(device);
                return database.HashSetAsync(key, [.. fields.Select(static field => new HashEntry(field.Name, field.Value))]);
            }));
        }

        return devices;
    }

    public static Device NewDevice() => new(DeviceUuid.New(), RandomNumberGenerator.GetHexString(64, lowercase: true));

    /// <summary>The device's record, as docs/redis.md describes it.</summary>
    public static (string Key, (string Name, string Value)[] Fields) RecordOf(Device device) =>
        ($"device:{{{device.Uuid}}}", [("public_url", "1"), ("key", Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(device.Key))))]);
}
