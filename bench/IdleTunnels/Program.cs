// Devices that do nothing: makes each in the store, dials its tunnel over TLS, and keeps it until standard input ends.
// Arguments: count, the gateway's TLS port on loopback, the store's socket, the CA's PEM file, a number below 200 that makes
// the source addresses of this process differ from another's.
using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using StackExchange.Redis;
using Tunnel.Protocol;

const string host = "tunnel.localhost";
var count = int.Parse(args[0], CultureInfo.InvariantCulture);
var port = int.Parse(args[1], CultureInfo.InvariantCulture);
var process = int.Parse(args[4], CultureInfo.InvariantCulture);

var options = new ConfigurationOptions();
options.EndPoints.Add(new UnixDomainSocketEndPoint(args[2]));
await using var redis = await ConnectionMultiplexer.ConnectAsync(options);
var database = redis.GetDatabase();

var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
policy.CustomTrustStore.ImportFromPemFile(args[3]);

var tunnels = new SslStream[count];
var next = -1;
await Task.WhenAll(Enumerable.Range(0, 16).Select(async _ =>
{
    int i;
    while ((i = Interlocked.Increment(ref next)) < count)
    {
        tunnels[i] = await DialAsync(i);
    }
}));
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"up {count}"));
await Console.In.ReadToEndAsync();
GC.KeepAlive(tunnels);

async Task<SslStream> DialAsync(int i)
{
    var uuid = DeviceUuid.New();
    var key = RandomNumberGenerator.GetHexString(64);
    var hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key)));
    await database.HashSetAsync($"device:{{{uuid}}}", [new("public_url", "1"), new("key", hash)]);

    // A source address has about 28,000 ports: many tunnels need several.
    var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    socket.Bind(new IPEndPoint(new IPAddress([127, 1, (byte)process, (byte)(1 + (i % 200))]), 0));
    await socket.ConnectAsync(IPAddress.Loopback, port);
    var stream = new SslStream(new NetworkStream(socket, ownsSocket: true));
    await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = host, CertificateChainPolicy = policy.Clone() });
    await stream.WriteAsync(Encoding.ASCII.GetBytes(
        $"GET {TunnelProtocol.PathOf(uuid)} HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {key}\r\n\r\n"));
    var answer = new byte[1024];
    var length = await stream.ReadAsync(answer);
    return Encoding.ASCII.GetString(answer, 0, length).StartsWith("HTTP/1.1 101", StringComparison.Ordinal)
        ? stream
        : throw new InvalidOperationException($"No tunnel: {Encoding.ASCII.GetString(answer, 0, length)}");
}
