using System.Net.Sockets;
using System.Text;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Telemetry;

/// <summary>Under systemd: what the services tell it, what the units ask of it, and how they are installed.</summary>
public sealed class ServiceManagerTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-systemd-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task The_agent_says_that_it_is_ready_alive_and_stopping()
    {
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        var path = Path.Combine(_folder.FullName, "notify");
        systemd.Bind(new UnixDomainSocketEndPoint(path));
        await using var agent = ChildProcess.StartOwn(
            "gateway-agent",
            ["--gateway", $"http://127.0.0.1:{RedisServer.FreePort()}", "--uuid", new string('a', 32)],
            new() { ["GATEWAY_KEY"] = "key", ["NOTIFY_SOCKET"] = path, ["WATCHDOG_USEC"] = "200000" });

        Assert.Equal("READY=1", await ReceiveAsync(systemd));
        Assert.Equal("WATCHDOG=1", await ReceiveAsync(systemd));
        Assert.Equal("WATCHDOG=1", await ReceiveAsync(systemd));
        agent.Signal("TERM");
        string message;
        do
        {
            message = await ReceiveAsync(systemd);
        }
        while (message == "WATCHDOG=1");

        Assert.Equal("STOPPING=1", message);
        Assert.Equal(0, await agent.WaitForExitAsync());
    }

    [Fact]
    public async Task The_gateway_says_that_it_is_ready()
    {
        using var systemd = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        var path = Path.Combine(_folder.FullName, "notify");
        systemd.Bind(new UnixDomainSocketEndPoint(path));
        await using var gateway = await GatewayProcess.StartWithAsync(new() { ["NOTIFY_SOCKET"] = path, ["WATCHDOG_USEC"] = "200000" });

        Assert.Equal("READY=1", await ReceiveAsync(systemd));
        Assert.Equal("WATCHDOG=1", await ReceiveAsync(systemd));
    }

    [Theory]
    [InlineData("deploy/device/gateway-agent.service", "/usr/local/bin/gateway-agent")]
    [InlineData("deploy/server/gateway.service", "/opt/gateway/gateway")]
    public async Task A_unit_is_valid_and_exposes_little(string unit, string program)
    {
        // Where the program is installed it exists; here another one stands for it.
        var text = await File.ReadAllTextAsync(Repository.File(unit), TestContext.Current.CancellationToken);
        Assert.Contains($"ExecStart={program} ", text, StringComparison.Ordinal);
        var copy = Path.Combine(_folder.FullName, Path.GetFileName(unit));
        await File.WriteAllTextAsync(copy, text.Replace(program, "/bin/true", StringComparison.Ordinal), TestContext.Current.CancellationToken);
        foreach (var arguments in new[] { new[] { "verify", "--man=no", copy }, ["security", "--offline=yes", "--threshold=30", copy] })
        {
            await using var analyze = ChildProcess.Start("systemd-analyze", arguments);
            Assert.True(await analyze.WaitForExitAsync() == 0, analyze.Output);
            TestContext.Current.TestOutputHelper?.WriteLine(analyze.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault() ?? $"{arguments[0]}: nothing to say");
        }
    }

    [Theory]
    [InlineData("etc/systemd/system", "etc/systemd/system/gateway-agent.service")]
    [InlineData("sbin/openrc-run", "etc/init.d/gateway-agent")]
    public async Task The_install_script_checks_first_and_keeps_the_key_to_root(string init, string service)
    {
        var root = Path.Combine(_folder.FullName, "root");
        if (init.StartsWith("etc", StringComparison.Ordinal))
        {
            Directory.CreateDirectory(Path.Combine(root, init));
        }
        else
        {
            Directory.CreateDirectory(Path.Combine(root, "sbin"));
            Directory.CreateDirectory(Path.Combine(root, "etc/init.d"));
            File.Copy("/bin/true", Path.Combine(root, init));
        }

        var pack = Directory.CreateDirectory(Path.Combine(_folder.FullName, "pack")).FullName;
        File.Copy(Path.Combine(AppContext.BaseDirectory, "gateway-agent"), Path.Combine(pack, "gateway-agent"));
        foreach (var file in new[] { "gateway-agent.service", "gateway-agent.initd" })
        {
            File.Copy(Repository.File($"deploy/device/{file}"), Path.Combine(pack, file));
        }

        var archive = Path.Combine(_folder.FullName, "agent.tar.gz");
        Assert.Equal(0, (await ShellAsync($"tar -C {pack} -czf {archive} .")).Status);
        var sum = (await ShellAsync($"sha256sum {archive}")).Output.Split(' ')[0];
        var command = $"sh {Repository.File("deploy/device/install.sh")} --root {root} --archive {archive} --gateway https://tunnel.example.com --uuid {new string('a', 32)}";

        var (status, output) = await ShellAsync($"echo secret-key | {command} --sha256 {new string('0', 64)}");
        Assert.Equal(1, status);
        Assert.Contains($"the archive's SHA-256 is {sum}", output, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(root, "usr")));

        (status, output) = await ShellAsync($"echo secret-key | {command} --sha256 {sum}");
        Assert.True(status == 0, output);
        Assert.DoesNotContain("secret-key", output, StringComparison.Ordinal);
        var settings = Path.Combine(root, "etc/gateway-agent.conf");
        Assert.Equal($"GATEWAY_URL=https://tunnel.example.com\nGATEWAY_UUID={new string('a', 32)}\nGATEWAY_KEY=secret-key\n", await File.ReadAllTextAsync(settings, TestContext.Current.CancellationToken));
        Assert.Equal("600", (await ShellAsync($"stat -c %a {settings}")).Output.Trim());
        Assert.True(File.Exists(Path.Combine(root, service)));

        (status, _) = await ShellAsync($"sh {Repository.File("deploy/device/install.sh")} --root {root} --uninstall");
        Assert.Equal(0, status);
        Assert.False(File.Exists(Path.Combine(root, service)));
        Assert.True(File.Exists(settings));
    }

    private static async Task<(int Status, string Output)> ShellAsync(string command)
    {
        await using var shell = ChildProcess.Start("sh", ["-c", command]);
        return (await shell.WaitForExitAsync(), shell.Output);
    }

    private static async Task<string> ReceiveAsync(Socket systemd)
    {
        using var patience = new CancellationTokenSource(Eventually.Patience);
        var buffer = new byte[1024];
        return Encoding.UTF8.GetString(buffer, 0, await systemd.ReceiveAsync(buffer, patience.Token));
    }
}
