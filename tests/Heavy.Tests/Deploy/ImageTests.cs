using System.Diagnostics;
using System.Net;
using System.Text.Json;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Protocol;

namespace Gateway.Tests.Deploy;

/// <summary>The images: built from nothing, and run by runc as uid 10001 with a read-only root and no capability.</summary>
[Collection(nameof(Alone))]
public sealed class ImageTests : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-image-");
    private readonly List<Container> _containers = [];

    public async ValueTask DisposeAsync()
    {
        foreach (var container in _containers)
        {
            await container.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_request_goes_through_the_gateways_and_the_agents_image()
    {
        await BuildAsync("gateway", "--rootfs");
        await BuildAsync("agent", "--rootfs");
        foreach (var (name, program) in new[] { ("gateway", "gateway"), ("agent", "gateway-agent") })
        {
            var bill = await File.ReadAllTextAsync(Path.Combine(_folder.FullName, $"{program}.cdx.json"), TestContext.Current.CancellationToken);
            Assert.Contains("pkg:nuget/Yarp.ReverseProxy@", bill, StringComparison.Ordinal);
            Assert.Equal(bill, await File.ReadAllTextAsync(Path.Combine(_folder.FullName, $"{name}-rootfs/usr/share/sbom/{program}.cdx.json"), TestContext.Current.CancellationToken));
        }

        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("hello"));
        var (port, admin) = (RedisServer.FreePort(), RedisServer.FreePort());
        string[] settings = ["--set", $"Listen:Http=127.0.0.1:{port}", "--set", $"Listen:Admin=127.0.0.1:{admin}", "--set", "Storage:DataDirectory=/var/lib/gateway"];

        // What is written goes to a volume: the root is read-only.
        var data = Directory.CreateDirectory(Path.Combine(_folder.FullName, "data")).FullName;
        await RunAsync("chown", "10001:10001", data);
        var added = await RunOnceAsync("gateway", ["/app/gateway", .. settings, "device", "add", "--public-url"], data);
        var fields = added.Split('\n').Select(static line => line.Split(':', 2, StringSplitOptions.TrimEntries)).Where(static parts => parts.Length == 2).ToDictionary(static parts => parts[0], static parts => parts[1], StringComparer.Ordinal);
        var uuid = DeviceUuid.Parse(fields["uuid"]);
        var gateway = Start("gateway", ["/app/gateway", .. settings], data);
        await gateway.Process.WaitForOutputAsync("Listening on");
        var agent = Start("agent", ["/app/gateway-agent", "--gateway", $"http://tunnel.localhost:{port}", "--uuid", $"{uuid}", "--target", app.Url.GetLeftPart(UriPartial.Authority)], null, $"GATEWAY_KEY={fields["key"]}");
        await agent.Process.WaitForOutputAsync("Tunnel up");

        using var visitor = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{port}/") { Headers = { Host = $"{uuid}.localhost" } };
        using var response = await visitor.SendAsync(request, TestContext.Current.CancellationToken);
        Assert.Equal((HttpStatusCode.OK, "hello"), (response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)));
        Assert.Contains("\"ok\"", await RunOnceAsync("gateway", ["/app/gateway", "health", "--url", $"http://127.0.0.1:{admin}/readyz"], data), StringComparison.Ordinal);

        foreach (var container in new[] { gateway, agent })
        {
            var status = await container.StatusAsync();
            TestContext.Current.TestOutputHelper?.WriteLine($"{container.Name}: {string.Join(", ", status)}");
            Assert.Equal(["Uid: 10001 10001 10001 10001", "CapEff: 0000000000000000", "NoNewPrivs: 1"], status);
        }
    }

    [Theory]
    [InlineData("gateway")]
    [InlineData("agent")]
    public async Task Building_twice_gives_the_same_digest(string name)
    {
        var first = await BuildAsync(name);
        var second = await BuildAsync(name);
        Assert.Contains("digest sha256:", first, StringComparison.Ordinal);
        Assert.Equal(first, second);
    }

    private async Task<string> BuildAsync(string name, params string[] flags)
    {
        var output = await RunAsync(Repository.File("deploy/images/build"), [name, "--output", _folder.FullName, .. flags]);
        TestContext.Current.TestOutputHelper?.WriteLine(output.Trim());
        return output;
    }

    private Container Start(string image, string[] command, string? data, params string[] environment)
    {
        var container = Container.Start(Path.Combine(_folder.FullName, $"{image}-rootfs"), image, command, data, environment);
        _containers.Add(container);
        return container;
    }

    private async Task<string> RunOnceAsync(string image, string[] command, string data)
    {
        await using var container = Container.Start(Path.Combine(_folder.FullName, $"{image}-rootfs"), image, command, data, []);
        Assert.True(await container.Process.WaitForExitAsync() == 0, container.Process.Output);
        return container.Process.Output;
    }

    private static async Task<string> RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{program}: {await output}{await error}");
        return await output;
    }

    /// <summary>A container of runc, in the test's own network: the ports are loopback's.</summary>
    private sealed class Container : IAsyncDisposable
    {
        private readonly string _id;
        private readonly DirectoryInfo _bundle;

        private Container(string id, string name, DirectoryInfo bundle, ChildProcess process) => (_id, Name, _bundle, Process) = (id, name, bundle, process);

        public string Name { get; }

        public ChildProcess Process { get; }

        public static Container Start(string root, string name, string[] command, string? data, string[] environment)
        {
            var bundle = Directory.CreateTempSubdirectory("gateway-bundle-");
            var id = $"gw-{Guid.NewGuid():N}"[..15];
            static object Mount(string destination, string type, string source, params string[] options) => new { destination, type, source, options };
            var none = Array.Empty<string>();
            var config = new
            {
                ociVersion = "1.0.2",
                process = new
                {
                    terminal = false,
                    user = new { uid = 10001, gid = 10001 },
                    args = command,
                    env = (string[])["PATH=/usr/local/bin", "DOTNET_EnableDiagnostics=0", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", .. environment],
                    cwd = "/var/lib/gateway",
                    capabilities = new { bounding = none, effective = none, permitted = none, inheritable = none, ambient = none },
                    noNewPrivileges = true,
                },
                root = new { path = root, @readonly = true },
                mounts = (object[])
                [
                    Mount("/proc", "proc", "proc"),
                    Mount("/dev", "tmpfs", "tmpfs", "nosuid", "mode=755"),
                    .. data is null ? Array.Empty<object>() : [Mount("/var/lib/gateway", "bind", data, "bind", "rw")],
                ],
                linux = new { namespaces = new[] { new { type = "pid" }, new { type = "mount" }, new { type = "ipc" }, new { type = "uts" } } },
            };
            File.WriteAllText(Path.Combine(bundle.FullName, "config.json"), JsonSerializer.Serialize(config));
            return new Container(id, name, bundle, ChildProcess.Start("runc", ["run", "--bundle", bundle.FullName, id]));
        }

        /// <summary>Who the process inside is, as the kernel says.</summary>
        public async Task<string[]> StatusAsync()
        {
            var state = JsonDocument.Parse(await RunAsync("runc", "state", _id)).RootElement;
            return
            [
                .. from field in new[] { "Uid", "CapEff", "NoNewPrivs" }
                   let line = File.ReadLines($"/proc/{state.GetProperty("pid").GetInt32()}/status").First(line => line.StartsWith($"{field}:", StringComparison.Ordinal))
                   select string.Join(' ', line.Split('\t', StringSplitOptions.RemoveEmptyEntries)),
            ];
        }

        public async ValueTask DisposeAsync()
        {
            using (var kill = System.Diagnostics.Process.Start(new ProcessStartInfo("runc", ["delete", "--force", _id]) { RedirectStandardError = true, RedirectStandardOutput = true, UseShellExecute = false })!)
            {
                await kill.WaitForExitAsync();
            }

            await Process.DisposeAsync();
            _bundle.Delete(recursive: true);
        }
    }
}
