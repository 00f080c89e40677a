using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Tunnel.Agent;
using Tunnel.Protocol;

namespace Gateway.Tests.Harness;

/// <summary>A device that exists, with its key.</summary>
internal sealed record TestDevice(DeviceUuid Uuid, string Key)
{
    /// <summary>The device's public host.</summary>
    public string Host => $"{Uuid}.{TestGateway.Domain}";
}

/// <summary>A whole gateway in this process, on real sockets: one plain, one TLS and one admin listener on loopback.</summary>
internal sealed class TestGateway : IAsyncDisposable
{
    /// <summary>The base domain. TLS libraries take no wildcard right below a top-level domain.</summary>
    public const string Domain = "gateway.localhost";

    private readonly WebApplication _app;
    private readonly DirectoryInfo _data;

    private TestGateway(WebApplication app, DirectoryInfo data)
    {
        _app = app;
        _data = data;
        var ports = app.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses
            .Select(static address => new Uri(address).Port).ToArray();
        (HttpPort, HttpsPort, AdminPort) = (ports[0], ports[1], ports[2]);
        AdminHttpsPort = ports.Length > 3 ? ports[3] : 0;
    }

    public int HttpPort { get; }

    public int HttpsPort { get; }

    public int AdminPort { get; }

    /// <summary>0 unless the settings ask for one.</summary>
    public int AdminHttpsPort { get; }

    public IServiceProvider Services => _app.Services;

    public TunnelRegistry Tunnels => Services.GetRequiredService<TunnelRegistry>();

    public DeviceStore Devices => Services.GetRequiredService<DeviceStore>();

    /// <summary>Starts a gateway and waits until it is ready.</summary>
    /// <param name="settings">Settings that differ from the tests' own.</param>
    /// <param name="configure">Changes to what is composed, a clock for example.</param>
    /// <param name="waitUntilReady">False where the store is not there yet.</param>
    public static async Task<TestGateway> StartAsync(
        Dictionary<string, string?>? settings = null, Action<WebApplicationBuilder>? configure = null, bool waitUntilReady = true)
    {
        var data = Directory.CreateTempSubdirectory("gateway-");
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Configuration.AddInMemoryCollection(await TestStore.SettingsAsync(data.FullName));
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["Cluster:Node"] = $"test-{Guid.NewGuid():N}", // many share one Redis
            ["Edge:Domains:0"] = Domain,
            ["Listen:Http"] = "127.0.0.1:0",
            ["Listen:Https"] = "127.0.0.1:0",
            ["Listen:Admin"] = "127.0.0.1:0",
            ["Certificates:File"] = TestCertificates.Shared.CertificateFile,
            ["Certificates:KeyFile"] = TestCertificates.Shared.KeyFile,
            ["Edge:RedirectToHttps"] = "false",
        });
        builder.Configuration.AddInMemoryCollection(settings ?? []);
        configure?.Invoke(builder);
        var app = Program.Build(builder);
        await app.StartAsync();
        var gateway = new TestGateway(app, data);
        if (waitUntilReady)
        {
            await Eventually.TrueAsync(() => gateway.Services.GetRequiredService<RedisConnection>().FirstConnected.IsCompletedSuccessfully, "the gateway is ready");
        }

        return gateway;
    }

    /// <summary>Adds a device to the store.</summary>
    public async Task<TestDevice> AddDeviceAsync(bool publicUrl = true, DeviceUuid? uuid = null)
    {
        var (key, hash) = DeviceKeyHash.New();
        var device = new TestDevice(uuid ?? DeviceUuid.New(), key);
        Assert.True(await Devices.AddAsync(device.Uuid, hash, null, publicUrl));
        return device;
    }

    /// <summary>Starts the device's agent in this process and waits until its tunnel is up.</summary>
    public async Task<TestAgent> ConnectAsync(TestDevice device, Uri target, bool tls = true)
    {
        var agent = await TestAgent.StartAsync(this, device, target, tls);
        await Eventually.TrueAsync(() => Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        return agent;
    }

    /// <summary>A visitor: every host leads to this gateway.</summary>
    public HttpClient CreateVisitor(Version? version = null, Action<SocketsHttpHandler>? configure = null) => new(CreateHandler(configure))
    {
        DefaultRequestVersion = version ?? HttpVersion.Version11,
        DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        Timeout = TimeSpan.FromSeconds(60),
    };

    /// <summary>The handler of <see cref="CreateVisitor"/>, for WebSockets and gRPC.</summary>
    public SocketsHttpHandler CreateHandler(Action<SocketsHttpHandler>? configure = null)
    {
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
            ActivityHeadersPropagator = null,
            ConnectCallback = async (context, cancellationToken) =>
            {
                var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                var tls = context.InitialRequestMessage.RequestUri!.Scheme is "https" or "wss";
                await socket.ConnectAsync(IPAddress.Loopback, tls ? HttpsPort : HttpPort, cancellationToken);
                return new NetworkStream(socket, ownsSocket: true);
            },
            SslOptions = TrustTestAuthority(),
        };
        configure?.Invoke(handler);
        return handler;
    }

    public static SslClientAuthenticationOptions TrustTestAuthority()
    {
        var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(TestCertificates.Shared.Authority);
        return new SslClientAuthenticationOptions { CertificateChainPolicy = policy };
    }

    public Task StopAsync() => _app.StopAsync();

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _data.Delete(recursive: true);
    }
}

/// <summary>An agent in this process.</summary>
internal sealed class TestAgent : IAsyncDisposable
{
    private readonly WebApplication _app;

    private TestAgent(WebApplication app) => _app = app;

    public static Task<TestAgent> StartAsync(TestGateway gateway, TestDevice device, Uri target, bool tls = true) =>
        StartAsync(new Uri(tls ? $"https://tunnel.{TestGateway.Domain}:{gateway.HttpsPort}" : $"http://tunnel.{TestGateway.Domain}:{gateway.HttpPort}"), device, target, 1);

    /// <summary>Starts an agent that dials this port, a balancer's for example, with TLS.</summary>
    public static Task<TestAgent> StartAsync(int port, TestDevice device, Uri target, int connections) =>
        StartAsync(new Uri($"https://tunnel.{TestGateway.Domain}:{port}"), device, target, connections);

    public static async Task<TestAgent> StartAsync(Uri gateway, TestDevice device, Uri target, int connections)
    {
        var app = AgentApplication.Build(new AgentSettings
        {
            Gateway = gateway,
            Uuid = device.Uuid,
            Key = device.Key,
            Target = target,
            TargetInsecure = false,
            TrustedRoots = [TestCertificates.Shared.Authority],
            Connections = connections,
        });
        await app.StartAsync();
        return new TestAgent(app);
    }

    public Task StopAsync() => _app.StopAsync();

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
