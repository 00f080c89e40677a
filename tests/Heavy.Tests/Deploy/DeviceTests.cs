using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Deploy;

/// <summary>The agent as devices get it: native, for this machine and, emulated, for arm64; and its size, start and memory.</summary>
[Collection(nameof(Alone))]
public sealed class DeviceTests : IDisposable
{
    private const int Mega = 1024 * 1024;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-device-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task Native_code_is_small_in_the_file_and_in_memory()
    {
        Assert.SkipUnless(RuntimeInformation.OSArchitecture == Architecture.X64, "The figures are for x64.");
        var native = await PackAsync("linux-x64");
        var jit = await PackAsync("linux-x64", "--jit");
        await using var gateway = await GatewayProcess.StartAsync();
        foreach (var (name, program) in new[] { ("native", native), ("self-contained JIT", jit) })
        {
            var (startup, memory) = await MeasureAsync(gateway, program);
            TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| linux-x64, {name} | {new FileInfo(program).Length / (double)Mega:0.0} MB | {startup.TotalMilliseconds:0} ms | {memory / (double)Mega:0.0} MB |"));
            if (name == "native")
            {
                Assert.InRange(new FileInfo(program).Length, 1, 25L * Mega);
                Assert.InRange(memory, 1, 30L * Mega);
            }
        }
    }

    [Fact]
    public async Task The_arm64_agent_serves_a_request_under_emulation()
    {
        var sysroot = await SysrootAsync();
        var program = await PackAsync("linux-arm64", sysroot: sysroot);
        TestContext.Current.TestOutputHelper?.WriteLine($"linux-arm64, native: {new FileInfo(program).Length / (double)Mega:0.0} MB");
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("hello from arm64"));
        await using var gateway = await GatewayProcess.StartAsync();
        var device = await gateway.AddDeviceAsync();
        await using var agent = ChildProcess.Start(
            "qemu-aarch64", ["-L", sysroot, program, "--gateway", gateway.TunnelAddress, "--uuid", $"{device.Uuid}", "--target", app.Url.GetLeftPart(UriPartial.Authority), "--connections", "1"],
            new() { ["GATEWAY_KEY"] = device.Key });
        await agent.WaitForOutputAsync("Tunnel up");
        using var visitor = gateway.CreateVisitor();
        using var response = await visitor.GetAsync(gateway.Url(device), TestContext.Current.CancellationToken);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("hello from arm64", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
    }

    // Idle: the tunnel is up, one visitor was there.
    private static async Task<(TimeSpan Startup, long Memory)> MeasureAsync(GatewayProcess gateway, string program)
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("hello"));
        var device = await gateway.AddDeviceAsync();
        var started = Stopwatch.GetTimestamp();
        await using var agent = ChildProcess.Start(
            program, ["--gateway", gateway.TunnelAddress, "--uuid", $"{device.Uuid}", "--target", app.Url.GetLeftPart(UriPartial.Authority), "--connections", "1"], new() { ["GATEWAY_KEY"] = device.Key });
        await agent.WaitForOutputAsync("Tunnel up");
        var startup = Stopwatch.GetElapsedTime(started);
        using var visitor = gateway.CreateVisitor();
        using var response = await visitor.GetAsync(gateway.Url(device), TestContext.Current.CancellationToken);
        Assert.Equal("hello", await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        var resident = long.Parse(
            File.ReadLines($"/proc/{agent.Id}/status").First(static line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(':')[1].Replace("kB", "", StringComparison.Ordinal).Trim(),
            CultureInfo.InvariantCulture);
        return (startup, resident * 1024);
    }

    private async Task<string> PackAsync(string rid, string? flag = null, string? sysroot = null)
    {
        var output = Path.Combine(_folder.FullName, $"{rid}{flag}");
        await RunAsync(Repository.File("deploy/device/package"), [rid, "--output", output, .. flag is null ? Array.Empty<string>() : [flag]], new() { ["SYSROOT"] = sysroot });
        await RunAsync("tar", ["-xzf", Path.Combine(output, $"gateway-agent-{rid}.tar.gz"), "-C", output]);
        return Path.Combine(output, "gateway-agent");
    }

    /// <summary>arm64's C library, as docs/devices.md says; beside the tree's build, for the next run.</summary>
    private async Task<string> SysrootAsync()
    {
        var sysroot = Repository.File("artifacts/sysroot-arm64");
        if (!Directory.Exists(Path.Combine(sysroot, "usr")))
        {
            await RunAsync("sh", ["-c", $"""
                set -e
                dpkg --add-architecture arm64 && apt-get update -qq
                cd {_folder.FullName}
                apt-get download -qq libc6:arm64 libc6-dev:arm64 linux-libc-dev:arm64 libgcc-s1:arm64 libgcc-12-dev:arm64 zlib1g:arm64 zlib1g-dev:arm64 libssl3:arm64
                dpkg --remove-architecture arm64
                mkdir -p {sysroot}.new
                for deb in *.deb; do dpkg -x "$deb" {sysroot}.new; done
                mv {sysroot}.new {sysroot}
                """]);
        }

        return sysroot;
    }

    // Minutes, not seconds: a compiler runs.
    private static async Task RunAsync(string program, IEnumerable<string> arguments, Dictionary<string, string?>? environment = null)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (var (name, value) in environment ?? [])
        {
            start.Environment[name] = value;
        }

        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{program}: {await output}{await error}");
        TestContext.Current.TestOutputHelper?.WriteLine((await output).Trim());
    }
}
