using Gateway.Tests.Harness;
using Tunnel.Protocol;

namespace Gateway.Tests.CommandLine;

/// <summary>What operators type, and what they are told.</summary>
public sealed class GatewayCommandTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-cli-");

    public void Dispose() => _folder.Delete(recursive: true);

    private async Task<(int Status, string Output)> RunAsync(IEnumerable<string> arguments, Dictionary<string, string?>? environment = null)
    {
        await using var process = ChildProcess.StartOwn("gateway", arguments, environment, _folder.FullName);
        var status = await process.WaitForExitAsync();
        return (status, process.Output.Trim());
    }

    private string[] Store => ["--set", $"Storage:DataDirectory={Path.Combine(_folder.FullName, "data")}"];

    [Theory]
    [InlineData("Edge:Domains:0=*.resindevice.io", "Edge:Domains[0] is \"*.resindevice.io\"", "resindevice.io")]
    [InlineData("Edge:Domains:0=not a name", "Edge:Domains[0] is \"not a name\"", "give a domain name")]
    [InlineData("Edge:ResponseTimeout=soon", "'soon'", "Edge:ResponseTimeout")]
    [InlineData("Edge:ResponseTimeout=00:00:00", "Edge:ResponseTimeout is 00:00:00", "give 00:00:00.1")]
    [InlineData("Edge:TrustedProxies:0=10.0.0.1/33", "Edge:TrustedProxies[0] is \"10.0.0.1/33\"", "give a network")]
    [InlineData("Listen:Http=8080", "Listen:Http is \"8080\"", "\"*:8080\"")]
    [InlineData("Listen:Http=", "Listen:Http and Listen:Https are both empty", "give at least one")]
    [InlineData("Listen:Https=*:8443", "Certificates:File is missing", "give a PEM file")]
    [InlineData("Listen:MaxRequestHeadersKib=1", "Listen:MaxRequestHeadersKib is 1", "give 8 to 1024")]
    [InlineData("Listen:MaxRequestHeadersKib=many", "'many'", "Listen:MaxRequestHeadersKib")]
    [InlineData("Tunnels:MaxPerDevice=0", "Tunnels:MaxPerDevice is 0", "give 1 to 100")]
    [InlineData("Tunnels:Http2:StreamWindow=1", "Tunnels:Http2:StreamWindow is 1", "give 65535")]
    [InlineData("Devices:MaxStaleness=00:00:01", "Devices:MaxStaleness is 00:00:01", "give Devices:CacheTtl")]
    [InlineData("Storage:Redis=,password=hunter2", "Storage:Redis names no server", "give at least one host:port")]
    [InlineData("Storage:DataDirectory=", "Storage:DataDirectory is empty", "give a folder")]
    [InlineData("Edge:Domain=resindevice.io", "Edge:Domain is no setting", "Edge:Domains")]
    [InlineData("Egde:Domains:0=resindevice.io", "Egde is no setting", "Edge")]
    public async Task A_wrong_setting_ends_the_gateway_with_one_line_that_names_it(string setting, string named, string remedy)
    {
        var (status, output) = await RunAsync(["--set", "Listen:Http=127.0.0.1:0", "--set", "Listen:Admin=", "--set", setting]);

        Assert.Equal(78, status);
        Assert.StartsWith("gateway: ", output, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', output);
        Assert.Contains(named, output, StringComparison.Ordinal);
        Assert.Contains(remedy, output, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_is_missing_or_no_JSON_is_named()
    {
        var (status, output) = await RunAsync(["--config", "absent.json"]);
        Assert.Equal((78, "gateway: --config absent.json: there is no such file."), (status, output.Replace(_folder.FullName + "/", "", StringComparison.Ordinal)));

        await File.WriteAllTextAsync(Path.Combine(_folder.FullName, "gateway.json"), "{ \"Edge\": ");
        (status, output) = await RunAsync([]);
        Assert.Equal(78, status);
        Assert.StartsWith("gateway: gateway.json is no JSON: ", output, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', output);
    }

    [Fact]
    public async Task The_command_line_wins_over_the_environment_and_this_over_the_file()
    {
        await File.WriteAllTextAsync(
            Path.Combine(_folder.FullName, "gateway.json"), """{ "Edge": { "Domains": [ "of.file" ] }, "Tunnels": { "MaxPerDevice": 0 }, "Listen": { "MaxRequestHeadersKib": 1 } }""");
        var environment = new Dictionary<string, string?> { ["GATEWAY_Edge__Domains__0"] = "*.of.environment", ["GATEWAY_Tunnels__MaxPerDevice"] = "-1", ["GATEWAY_URL"] = "the agent's" };

        Assert.Contains("of.environment", (await RunAsync(["--set", "Listen:MaxRequestHeadersKib=64", "--set", "Tunnels:MaxPerDevice=4"], environment)).Output, StringComparison.Ordinal);
        Assert.Contains("MaxPerDevice is -1", (await RunAsync(["--set", "Listen:MaxRequestHeadersKib=64", "--set", "Edge:Domains:0=of.set"], environment)).Output, StringComparison.Ordinal);
        Assert.Contains("MaxPerDevice is -2", (await RunAsync(["--set", "Listen:MaxRequestHeadersKib=64", "--set", "Edge:Domains:0=of.set", "--set", "Tunnels:MaxPerDevice=-2"], environment)).Output, StringComparison.Ordinal);
        Assert.Contains("MaxRequestHeadersKib is 1", (await RunAsync(["--set", "Tunnels:MaxPerDevice=4", "--set", "Edge:Domains:0=of.set"], environment)).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("nonsense")]
    [InlineData("--nonsense")]
    [InlineData("--set", "without-equals")]
    [InlineData("device", "add", "--uuid", "short")]
    [InlineData("public-url", "short", "--enable")]
    [InlineData("public-url", "0123456789abcdef0123456789abcdef")]
    [InlineData("public-url", "0123456789abcdef0123456789abcdef", "--enable", "--disable")]
    public async Task Wrong_usage_ends_with_2_and_says_what_is_wrong(params string[] arguments)
    {
        var (status, output) = await RunAsync(arguments);

        Assert.Equal(2, status);
        Assert.Contains("--help", output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--help", "public-url")]
    [InlineData("device add --help", "--public-url")]
    [InlineData("public-url --help", "--status")]
    public async Task Help_names_what_there_is(string arguments, string named)
    {
        var (status, output) = await RunAsync(arguments.Split(' '));

        Assert.Equal(0, status);
        Assert.Contains(named, output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_is_added_and_switched_without_a_running_gateway()
    {
        var (status, output) = await RunAsync(["device", "add", "--name", "a kitchen", "--uuid", "0123456789ABCDEF0123456789abcdef", .. Store]);
        Assert.Equal(0, status);
        Assert.Matches(@"^uuid: 0123456789abcdef0123456789abcdef\nkey:  dgk_[A-Za-z0-9_-]{43}\nhost: 0123456789abcdef0123456789abcdef\.localhost \(public URL disabled\)$", output);

        (status, output) = await RunAsync(["device", "add", "--uuid", "0123456789abcdef0123456789abcdef", .. Store]);
        Assert.Equal((1, "gateway: the device 0123456789abcdef0123456789abcdef exists already."), (status, output));

        Assert.Equal((0, "disabled"), await RunAsync(["public-url", "0123456789abcdef0123456789abcdef", "--status", .. Store]));
        Assert.Equal((0, "enabled: 0123456789abcdef0123456789abcdef.localhost"), await RunAsync(["public-url", "0123456789abcdef0123456789abcdef", "--enable", .. Store]));
        Assert.Equal((0, "enabled: 0123456789abcdef0123456789abcdef.localhost"), await RunAsync(["public-url", "0123456789abcdef0123456789abcdef", "--status", .. Store]));
        Assert.Equal((0, "disabled"), await RunAsync(["public-url", "0123456789abcdef0123456789abcdef", "--disable", .. Store]));

        var other = DeviceUuid.New();
        Assert.Equal((3, $"gateway: there is no device {other}."), await RunAsync(["public-url", $"{other}", "--enable", .. Store]));
        Assert.Equal((3, $"gateway: there is no device {other}."), await RunAsync(["public-url", $"{other}", "--status", .. Store]));
    }

    [Fact]
    public async Task A_command_needs_no_folder_to_write_to_but_the_stores()
    {
        // As in the image, whose root is read-only.
        await using var command = ChildProcess.StartOwn("gateway", ["device", "add", .. Store], new() { ["TMPDIR"] = "/proc/nowhere/" }, _folder.FullName);
        Assert.True(await command.WaitForExitAsync() == 0, command.Output);
        Assert.StartsWith("uuid: ", command.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_store_or_an_address_that_cannot_be_had_ends_with_69()
    {
        var (status, output) = await RunAsync(["public-url", $"{DeviceUuid.New()}", "--status", "--set", "Storage:Redis=127.0.0.1:1"]);
        Assert.Equal(69, status);
        Assert.Contains("Storage:Redis", output, StringComparison.Ordinal);

        using var taken = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        taken.Start();
        (status, output) = await RunAsync(["--set", $"Listen:Http={taken.LocalEndpoint}", "--set", "Listen:Admin=", .. Store]);
        Assert.Equal(69, status);
        Assert.Contains($"{taken.LocalEndpoint}", output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", output, StringComparison.Ordinal);

        await File.WriteAllTextAsync(Path.Combine(_folder.FullName, "plain-file"), "");
        (status, output) = await RunAsync(["--set", "Listen:Http=127.0.0.1:0", "--set", "Listen:Admin=", "--set", "Storage:DataDirectory=plain-file"]);
        Assert.Equal(69, status);
        Assert.Contains("plain-file", output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", output, StringComparison.Ordinal);
    }
}
