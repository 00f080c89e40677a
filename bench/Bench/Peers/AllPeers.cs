using System.Globalization;
using Bench.Processes;

namespace Bench.Peers;

/// <summary>All ways that are compared.</summary>
internal static class AllPeers
{
    public const string Yarp = "yarp";
    public const string Gateway = "gateway";

    /// <summary>No rival: what the gateway is built on, without a gateway.</summary>
    public const string Hops = "hops";

    private const string DeviceNetwork = "10.77.1";
    private const string TunnelNetwork = "10.77.2";
    private const int DevicePort = 8080;

    public static readonly Peer[] List =
    [
        new(Yarp, "plain YARP -> application: the limit, for it stands directly on the device's port", [], StartYarpAsync),
        new("nginx", "nginx -> application", [], StartNginxAsync),
        new(Gateway, "gateway -> TLS tunnel -> agent -> application", ["redis-server"], StartGatewayAsync),
        new(Hops, "plain YARP -> HTTP/2 over TLS -> plain YARP -> application: what two hops of this platform cost without a tunnel, and without anything that a gateway does", [], StartHopsAsync),
        new("ssh", "nginx -> sshd -> `ssh -R` -> application", ["sshd", "ssh", "ssh-keygen"], StartSshAsync),
        new("openvpn", "nginx -> OpenVPN (TCP, its default ciphers) -> application, in two network namespaces: what resin.io did", ["openvpn", "ip"], StartOpenVpnAsync),
        new("pagekite", "pagekite front-end -> its back-end -> application", ["pagekite"], StartPageKiteAsync),
    ];

    private static Task<RunningPeer> StartYarpAsync(PeerGround ground)
    {
        var address = $"http://127.0.0.1:{Stage.FreePort()}";
        var yarp = ground.Stage.Start("plain-yarp", [Repository.PlainYarp, address, $"http://127.0.0.1:{ground.ApplicationPort}"]);
        return Task.FromResult(new RunningPeer(List[0], address, "device.localhost", [yarp], []));
    }

    private static Task<RunningPeer> StartNginxAsync(PeerGround ground) => Task.FromResult(BehindNginx(ground, List[1], $"127.0.0.1:{ground.ApplicationPort}", [], []));

    private static async Task<RunningPeer> StartGatewayAsync(PeerGround ground)
    {
        var redis = await RedisServer.StartAsync(ground.Stage);
        var device = (await redis.AddDevicesAsync(1))[0];
        var gateway = await GatewayServer.StartAsync(ground.Stage, redis, ground.Certificates.Issue("gateway", "tunnel.localhost", "*.localhost"));
        var agent = Agent.Start(ground.Stage, device, new Uri($"https://tunnel.localhost:{gateway.Https}"), ground.Certificates.AuthorityFile, ground.ApplicationPort);
        return new RunningPeer(List[2], $"http://127.0.0.1:{gateway.Http}", device.Host, [gateway.Process], [agent]);
    }

    private static async Task<RunningPeer> StartHopsAsync(PeerGround ground)
    {
        var (front, behind) = ($"http://127.0.0.1:{Stage.FreePort()}", Stage.FreePort());
        var (certificate, key) = ground.Certificates.Issue("hops", "127.0.0.1");
        var device = ground.Stage.Start("plain-yarp behind", [Repository.PlainYarp, $"https://127.0.0.1:{behind}", $"http://127.0.0.1:{ground.ApplicationPort}", certificate, key]);
        await ground.Stage.UntilAsync("the second hop does not listen", () => Task.FromResult(GatewayServer.Listens(behind)), device);
        var yarp = ground.Stage.Start("plain-yarp in front", ["env", $"SSL_CERT_FILE={ground.Certificates.AuthorityFile}", Repository.PlainYarp, front, $"https://127.0.0.1:{behind}"]);
        return new RunningPeer(List[3], front, "device.localhost", [yarp], [device]);
    }

    private static async Task<RunningPeer> StartSshAsync(PeerGround ground)
    {
        var stage = ground.Stage;
        Directory.CreateDirectory("/run/sshd"); // its privilege separation directory, made by the service as a rule
        var (port, forwarded) = (Stage.FreePort(), Stage.FreePort());
        var (host, user) = (stage.PathOf("ssh-host"), stage.PathOf("ssh-user"));
        foreach (var key in new[] { host, user })
        {
            await stage.RunAsync("ssh-keygen", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key]);
        }

        var settings = stage.Write("sshd_config", string.Create(CultureInfo.InvariantCulture, $"""
            ListenAddress 127.0.0.1:{port}
            HostKey {host}
            AuthorizedKeysFile {user}.pub
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password

            """));
        var sshd = (await stage.RunAsync("which", ["which", "sshd"])).Trim(); // it wants its own path
        var server = stage.Start("sshd", [sshd, "-D", "-e", "-f", settings]);
        await server.WaitForLineAsync("Server listening", TimeSpan.FromSeconds(10), stage.Stopping);
        var client = stage.Start("ssh",
        [
            "ssh", "-F", "none", "-N", "-R", $"127.0.0.1:{forwarded}:127.0.0.1:{ground.ApplicationPort}", "-p", $"{port}", "-i", user, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "ExitOnForwardFailure=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", $"{Environment.UserName}@127.0.0.1",
        ]);
        return BehindNginx(ground, List[4], $"127.0.0.1:{forwarded}", [server], [client]);
    }

    private static async Task<RunningPeer> StartOpenVpnAsync(PeerGround ground)
    {
        var stage = ground.Stage;
        if (!File.Exists("/dev/net/tun"))
        {
            throw new BenchException("there is no /dev/net/tun");
        }

        // The gateway's side and the device, a network each and a cable between them.
        var (cloud, device) = (await stage.NetworkAsync(), await stage.NetworkAsync());
        await stage.RunAsync("ip", ["ip", "-n", cloud, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", device]);
        foreach (var (network, last) in new[] { (cloud, 1), (device, 2) })
        {
            await stage.RunAsync("ip", ["ip", "-n", network, "addr", "add", $"{DeviceNetwork}.{last}/24", "dev", "cable"]);
            await stage.RunAsync("ip", ["ip", "-n", network, "link", "set", "cable", "up"]);
        }

        var (server, client) = (ground.Certificates.Issue("vpn-server"), ground.Certificates.Issue("vpn-client"));
        var port = Stage.FreePort();
        var front = stage.Start("openvpn server",
        [
            "openvpn", "--dev", "tun", "--proto", "tcp-server", "--local", $"{DeviceNetwork}.1", "--port", $"{port}", "--server", $"{TunnelNetwork}.0", "255.255.255.0", "--topology", "subnet",
            "--ca", ground.Certificates.AuthorityFile, "--cert", server.Certificate, "--key", server.Key, "--dh", "none", "--keepalive", "10", "60",
        ], cloud);
        await front.WaitForLineAsync("Initialization Sequence Completed", TimeSpan.FromSeconds(20), stage.Stopping);
        var behind = stage.Start("openvpn client",
        [
            "openvpn", "--client", "--dev", "tun", "--proto", "tcp-client", "--remote", $"{DeviceNetwork}.1", $"{port}", "--nobind",
            "--ca", ground.Certificates.AuthorityFile, "--cert", client.Certificate, "--key", client.Key, "--remote-cert-tls", "server",
        ], device);
        await behind.WaitForLineAsync("Initialization Sequence Completed", TimeSpan.FromSeconds(20), stage.Stopping);
        ground.Application.Start(stage, "application-vpn", DevicePort, device, $"listen {TunnelNetwork}.2:{DevicePort};");
        return BehindNginx(ground, List[5], $"{TunnelNetwork}.2:{DevicePort}", [front], [behind], cloud);
    }

    private static async Task<RunningPeer> StartPageKiteAsync(PeerGround ground)
    {
        const string name = "device.kite.localhost";
        var port = Stage.FreePort();
        var front = ground.Stage.Start("pagekite front-end", ["pagekite", "--clean", "--nullui", "--isfrontend", "--host=127.0.0.1", $"--ports={port}", "--protos=http", $"--domain=http:{name}:secret"]);
        await ground.Stage.UntilAsync("pagekite does not listen", () => Task.FromResult(GatewayServer.Listens(port)), front);
        var back = ground.Stage.Start("pagekite back-end", ["pagekite", "--clean", "--nullui", $"--frontend=127.0.0.1:{port}", $"--service_on=http:{name}:127.0.0.1:{ground.ApplicationPort}:secret"]);
        return new RunningPeer(List[6], $"http://127.0.0.1:{port}", name, [front], [back]);
    }

    private static RunningPeer BehindNginx(PeerGround ground, Peer peer, string to, ChildProcess[] front, ChildProcess[] device, string? network = null)
    {
        var port = Stage.FreePort();
        var nginx = Nginx.Start(ground.Stage, $"nginx-{peer.Name}", Nginx.Forward($"127.0.0.1:{port}", to), network);
        return new RunningPeer(peer, $"http://127.0.0.1:{port}", "device.localhost", [nginx, .. front], device, network);
    }
}
