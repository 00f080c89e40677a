using System.Text.Json.Nodes;
using Gateway.Admin.CommandLine;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.CommandLine;

/// <summary>What operators type, against a gateway and against the store itself.</summary>
public sealed class VerbTests(SharedGateway shared) : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-cli-");

    private TestGateway Gateway => shared.Gateway;

    public void Dispose() => _folder.Delete(recursive: true);

    private async Task<(int Status, string Output)> RunAsync(string verb, params IEnumerable<KeyValuePair<string, string?>> environment)
    {
        await using var process = ChildProcess.StartOwn("gateway", verb.Split(' '), new Dictionary<string, string?>(environment), _folder.FullName);
        var status = await process.WaitForExitAsync();
        return (status, process.Output.Trim());
    }

    private Task<(int Status, string Output)> AtAsync(Operator someone, string verb) =>
        RunAsync(verb, new("GATEWAY_SERVER", $"http://127.0.0.1:{Gateway.AdminPort}"), new("GATEWAY_TOKEN", someone.Token));

    private Task<(int Status, string Output)> OnStoreAsync(string verb) => RunAsync(verb, new KeyValuePair<string, string?>("GATEWAY_Storage__DataDirectory", Path.Combine(_folder.FullName, "data")));

    private static string Field(string output, string name) =>
        output.Split('\n').Select(static line => line.Split(':', 2)).Single(parts => parts[0] == name)[1].Trim();

    [Fact]
    public async Task A_first_set_up_needs_no_gateway()
    {
        var (status, output) = await OnStoreAsync("token create --name alice --scope admin --expires 90d");
        Assert.Equal(0, status);
        var token = Field(output, "token");
        Assert.StartsWith("dgt_", token, StringComparison.Ordinal);

        // The gateway that is started later takes it, and says who made it.
        await using var gateway = await TestGateway.StartAsync(new() { ["Storage:Redis"] = "", ["Storage:DataDirectory"] = Path.Combine(_folder.FullName, "data") });
        using var alice = Operator.WithToken(gateway, token);
        var tokens = (await alice.GetAsync("/api/v1/tokens"))["tokens"]!.AsArray();
        var entry = Assert.Single(await alice.AuditAsync("action=token.create"))!;
        Assert.Equal(("alice", $"command line ({Environment.UserName})", "local"), ((string)Assert.Single(tokens)!["name"]!, (string)entry["actor"]!["name"]!, (string)entry["actor"]!["from"]!));

        // And while it runs, the command line shares its store.
        Assert.Equal(0, (await OnStoreAsync("device add --name kitchen")).Status);
        await Eventually.TrueAsync(async () => (int)(await alice.GetAsync("/api/v1/devices"))["total"]! == 1, "the device is there");
    }

    [Fact]
    public async Task Devices_and_their_keys_are_managed_from_the_command_line()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var (status, output) = await AtAsync(someone, "device add --name kitchen --tag site=oslo --tag kiosk --public-url");
        Assert.Equal(0, status);
        var (uuid, key) = (Field(output, "uuid"), Field(output, "key"));
        await using var agent = await Operator.ConnectAsync(Gateway, new TestDevice(DeviceUuid.Parse(uuid), key));

        (status, output) = await AtAsync(someone, $"device list --uuid {uuid[..10]}");
        Assert.Equal(0, status);
        Assert.Matches($@"^UUID +NAME +ONLINE +PUBLIC URL +LAST SEEN +TAGS\n{uuid} +kitchen +yes +enabled +\S+( \S+)? +kiosk, site=oslo$", output);

        (status, output) = await AtAsync(someone, $"device update {uuid[..12]} --name hall --untag kiosk --tag floor=2 --self-service on");
        Assert.Equal((0, "hall", "floor=2, site=oslo", "on"), (status, Field(output, "name"), Field(output, "tags"), Field(output, "self-service")));

        (status, output) = await AtAsync(someone, $"device key issue {uuid} --name spare --expires 24h");
        Assert.Equal(0, status);
        var fingerprint = Field(output, "fingerprint");
        (status, output) = await AtAsync(someone, $"device key list {uuid}");
        Assert.Matches($@"{fingerprint} +spare +\S+ \S+ +\S+ \S+", output);
        Assert.Equal((0, $"revoked: {fingerprint}"), await AtAsync(someone, $"device key revoke {uuid} {fingerprint}"));
        (status, output) = await AtAsync(someone, $"device key rotate {uuid} --overlap 1h");
        Assert.Equal(0, status);

        (status, output) = await AtAsync(someone, $"device show {uuid} --json");
        var shown = JsonNode.Parse(output)!;
        Assert.Equal((0, "hall", true, 2), (status, (string)shown["name"]!, (bool)shown["status"]!["online"]!, shown["keys"]!.AsArray().Count));
        Assert.DoesNotContain(key, output, StringComparison.Ordinal);
        (status, output) = await AtAsync(someone, $"device show {uuid}");
        Assert.Equal((0, "yes"), (status, Field(output, "online")));

        (status, output) = await AtAsync(someone, $"audit --device {uuid} --action key.revoke");
        Assert.Equal(0, status);
        Assert.Contains(fingerprint, output, StringComparison.Ordinal);

        Assert.Equal((2, "gateway: nobody can be asked here: give --yes to delete the device."), await AtAsync(someone, $"device remove {uuid}"));
        Assert.Equal((0, $"removed: {uuid}"), await AtAsync(someone, $"device remove {uuid} --yes"));
        Assert.Equal((3, $"gateway: there is no device {uuid}."), await AtAsync(someone, $"device show {uuid}"));
        Assert.Equal((3, $"gateway: there is no device that begins with {uuid[..9]}."), await AtAsync(someone, $"device show {uuid[..9]}"));
    }

    [Fact]
    public async Task Many_public_URLs_are_switched_with_their_progress_on_standard_error()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var tag = $"t{Guid.NewGuid():N}";
        var uuids = Enumerable.Range(0, 250).Select(static _ => DeviceUuid.New()).ToList();
        foreach (var chunk in uuids.Chunk(50))
        {
            await Task.WhenAll(chunk.Select(uuid => Gateway.Devices.AddAsync(new DeviceRecord { Uuid = uuid, PublicUrl = false, Tags = DeviceRecord.NoTags.Add(tag, "") })));
        }

        await Eventually.TrueAsync(async () => (int)(await someone.GetAsync($"/api/v1/devices?tag={tag}"))["total"]! == uuids.Count, "all are listed");

        var (status, output) = await AtAsync(someone, $"public-url --tag {tag} --enable");

        Assert.Equal(0, status);
        Assert.Equal(["100 of 250 devices", "200 of 250 devices", "250 of 250 devices", "enabled: 250 of 250 devices"], output.Split('\n').Order());
        Assert.True((await Task.WhenAll(uuids.Select(Gateway.Devices.FindAsync))).All(static device => device!.PublicUrl));
        Assert.Equal((0, $"enabled: {uuids[0]}.{TestGateway.Domain}"), await AtAsync(someone, $"public-url {uuids[0]} --status"));
        Assert.Equal((0, "disabled"), await AtAsync(someone, $"public-url {uuids[0]} --disable"));
        (status, output) = await AtAsync(someone, $"device list --tag {tag} --enabled --limit 10 --json");
        var list = JsonNode.Parse(output)!;
        Assert.Equal((0, 249, 10), (status, (int)list["total"]!, list["devices"]!.AsArray().Count));
    }

    [Fact]
    public async Task Who_may_not_is_told_so_by_the_status_and_the_reason()
    {
        using var reader = await Operator.WithAsync(Gateway, Scope.Read, "reader");
        using var wrong = Operator.WithToken(Gateway, "dgt_wrong");

        var (status, output) = await AtAsync(reader, "device add");
        Assert.Equal((77, "gateway: the token \"reader\" has the scope read; this needs operate."), (status, output));
        (status, output) = await AtAsync(wrong, "status");
        Assert.Equal(77, status);
        Assert.Contains("check GATEWAY_TOKEN", output, StringComparison.Ordinal);
        (status, output) = await AtAsync(reader, "status");
        Assert.Equal((0, "0.1.0"), (status, Field(output, "version")));
        (status, output) = await RunAsync("status --server http://127.0.0.1:1 --token x");
        Assert.Equal(69, status);
        Assert.StartsWith("gateway: http://127.0.0.1:1 cannot be reached", output, StringComparison.Ordinal);
        (status, output) = await RunAsync($"status --server http://127.0.0.1:{Gateway.HttpPort} --token x");
        Assert.Equal(1, status);
        Assert.Contains("check --server", output, StringComparison.Ordinal);
        (status, output) = await RunAsync("status --server example.com --token x");
        Assert.Equal(78, status);
        (status, output) = await RunAsync("status --server http://127.0.0.1:1");
        Assert.Equal(78, status);
        Assert.Contains("GATEWAY_TOKEN", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_server_may_stand_in_the_configuration_file_and_be_reached_by_TLS()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Listen:AdminHttps"] = "127.0.0.1:0" });
        using var someone = await Operator.WithAsync(gateway, Scope.Read);
        await File.WriteAllTextAsync(
            Path.Combine(_folder.FullName, "gateway.json"),
            $$"""{ "Client": { "Server": "https://localhost:{{gateway.AdminHttpsPort}}", "Token": "{{someone.Token}}", "CaFile": "{{TestCertificates.Shared.AuthorityFile}}" } }""");

        var (status, output) = await RunAsync("status");

        Assert.Equal((0, "0.1.0"), (status, Field(output, "version")));
    }

    [Theory]
    [InlineData("device show xyz", "no device uuid")]
    [InlineData("device show 123456", "at least the first 7")]
    [InlineData("device list --limit 0", "--limit is \"0\": give at least 1")]
    [InlineData("device list --online --offline", "give one")]
    [InlineData("device update 0123456", "Say what to change")]
    [InlineData("device key issue 0123456 --expires soon", "\"soon\" is no duration")]
    [InlineData("public-url --enable", "Give a uuid, --tag or --all")]
    [InlineData("public-url 0123456 --all --enable", "only one of them")]
    [InlineData("public-url --all --status", "--status is for one device")]
    [InlineData("token create --scope read", "--name")]
    [InlineData("token create --name x --scope root", "root")]
    [InlineData("device domain add 0123456 *.example.com", "without a wildcard")]
    [InlineData("completion tcsh", "tcsh")]
    public async Task Wrong_usage_ends_with_2_and_says_what_is_wrong(string verb, string named)
    {
        var (status, output) = await RunAsync(verb);

        Assert.Equal(2, status);
        Assert.Contains(named, output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bash_completes_verbs_and_options()
    {
        var (status, script) = await RunAsync("completion bash");
        Assert.Equal(0, status);
        var own = $"gateway() {{ dotnet {Path.Combine(AppContext.BaseDirectory, "gateway.dll")} \"$@\"; }}";
        await using var bash = ChildProcess.Start("bash", [
            "-c",
            $"{own}\n{script}\nCOMP_WORDS=(gateway device re); COMP_CWORD=2; COMP_LINE='gateway device re'; COMP_POINT=17; _gateway; echo \"${{COMPREPLY[@]}}\"\n" +
            $"COMP_WORDS=(gateway public-url --en); COMP_CWORD=2; COMP_LINE='gateway public-url --en'; COMP_POINT=23; _gateway; echo \"${{COMPREPLY[@]}}\""]);

        Assert.Equal(0, await bash.WaitForExitAsync());

        Assert.Equal("remove\n--enable\n", bash.Output);
    }

    [Fact]
    public async Task A_devices_domains_are_managed_from_the_command_line()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var (device, domain) = (await someone.AddDeviceAsync(), $"c{Guid.NewGuid():N}.example.com");
        var uuid = device.Uuid.ToString()[..12];

        Assert.Equal((0, $"domain: {domain}\nDNS:    {domain} CNAME {device.Host}."), await AtAsync(someone, $"device domain add {uuid} {domain}"));
        Assert.Equal((0, domain), await AtAsync(someone, $"device domain list {uuid}"));
        var (status, output) = await AtAsync(someone, $"device domain list {uuid} --json");
        Assert.Equal((0, domain), (status, (string)JsonNode.Parse(output)!["domains"]![0]!["domain"]!));
        Assert.Equal((0, $"removed: {domain}"), await AtAsync(someone, $"device domain remove {uuid} {domain}"));
        Assert.Equal((3, $"gateway: {domain} is no domain of the device {device.Uuid}."), await AtAsync(someone, $"device domain remove {uuid} {domain}"));
    }

    [Fact]
    public async Task Help_has_examples()
    {
        var (status, output) = await RunAsync("device add --help");

        Assert.Equal(0, status);
        Assert.Contains("Example: gateway device add --name kitchen", output, StringComparison.Ordinal);
        Assert.All(Leaves(GatewayCommand.Create()), static verb => Assert.True(verb is ExplainedCommand { Examples.Length: > 0 } || verb.Name == "run", $"{verb.Name} has no example"));

        static IEnumerable<System.CommandLine.Command> Leaves(System.CommandLine.Command command) =>
            command.Subcommands.Count == 0 ? [command] : command.Subcommands.SelectMany(Leaves);
    }
}
