using Gateway.Tests.Harness;
using Tunnel.Agent;

namespace Gateway.Tests.Agents;

/// <summary>Where the agent's settings come from, and what it says when one is wrong.</summary>
public sealed class AgentSettingsTests : IDisposable
{
    private const string Uuid = "0123456789abcdef0123456789abcdef";

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-agent-");

    public void Dispose() => _folder.Delete(recursive: true);

    private static AgentSettings Read(Dictionary<string, string> flags, Dictionary<string, string> environment) =>
        AgentSettings.Read(flags.GetValueOrDefault, environment.GetValueOrDefault);

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }

    [Fact]
    public void A_balena_device_needs_no_more_than_the_gateway_s_address()
    {
        var settings = Read([], new() { ["GATEWAY_URL"] = "https://tunnel.resindevice.io", ["BALENA_DEVICE_UUID"] = Uuid, ["BALENA_API_KEY"] = "k" });

        Assert.Equal(("https://tunnel.resindevice.io/", Uuid, "k"), (settings.Gateway.AbsoluteUri, $"{settings.Uuid}", settings.Key));
        Assert.Equal("http://127.0.0.1/", settings.Target.AbsoluteUri);
        Assert.False(settings.TargetInsecure);
        Assert.Null(settings.TrustedRoots);
    }

    [Fact]
    public void A_flag_wins_over_the_environment_and_this_over_the_file()
    {
        var file = Write("agent.env", $"# a comment\n\nGATEWAY_URL = \"https://tunnel.file\"\nGATEWAY_TARGET='http://127.0.0.1:1'\nRESIN_DEVICE_UUID={Uuid}\nGATEWAY_KEY=file\n");

        var settings = Read(new() { ["config"] = file, ["gateway"] = "https://tunnel.flag" }, new() { ["GATEWAY_URL"] = "https://tunnel.environment", ["GATEWAY_TARGET"] = "http://127.0.0.1:2", ["RESIN_API_KEY"] = "environment" });

        Assert.Equal("https://tunnel.flag/", settings.Gateway.AbsoluteUri);
        Assert.Equal("http://127.0.0.1:2/", settings.Target.AbsoluteUri);
        Assert.Equal(Uuid, $"{settings.Uuid}");
        Assert.Equal("environment", settings.Key);
    }

    [Fact]
    public void The_gateway_s_own_variables_win_over_those_of_balena_and_these_over_those_of_resin()
    {
        var all = new Dictionary<string, string>
        {
            ["GATEWAY_URL"] = "https://tunnel.a", ["GATEWAY_UUID"] = new('a', 32), ["BALENA_DEVICE_UUID"] = new('b', 32), ["RESIN_DEVICE_UUID"] = new('c', 62),
            ["GATEWAY_KEY"] = "a", ["BALENA_API_KEY"] = "b", ["RESIN_API_KEY"] = "c",
        };

        Assert.Equal((new string('a', 32), "a"), ($"{Read([], all).Uuid}", Read([], all).Key));
        all.Remove("GATEWAY_UUID");
        all.Remove("GATEWAY_KEY");
        Assert.Equal((new string('b', 32), "b"), ($"{Read([], all).Uuid}", Read([], all).Key));
        all["BALENA_DEVICE_UUID"] = "";
        all["BALENA_API_KEY"] = "";
        Assert.Equal((new string('c', 62), "c"), ($"{Read([], all).Uuid}", Read([], all).Key));
    }

    [Fact]
    public void A_key_may_stand_in_a_file_and_authorities_too()
    {
        var settings = Read(
            new() { ["gateway"] = "https://tunnel.a", ["uuid"] = Uuid.ToUpperInvariant(), ["key-file"] = Write("key", "secret\n"), ["ca"] = TestCertificates.Shared.AuthorityFile },
            new() { ["GATEWAY_KEY"] = "another" });

        Assert.Equal("secret", settings.Key);
        Assert.Equal("CN=Test CA", Assert.Single(settings.TrustedRoots!).Subject);
    }

    public static TheoryData<string, string, string[]> Wrong => new()
    {
        { "gateway", "", ["--gateway (GATEWAY_URL) is missing", "https://tunnel."] },
        { "gateway", "tunnel.resindevice.io", ["--gateway (GATEWAY_URL) is \"tunnel.resindevice.io\"", "https://tunnel."] },
        { "gateway", "wss://tunnel.resindevice.io", ["is \"wss://tunnel.resindevice.io\"", "with http or https"] },
        { "gateway", "https://tunnel.resindevice.io/path", ["without a path"] },
        { "uuid", "", ["--uuid (GATEWAY_UUID, BALENA_DEVICE_UUID, RESIN_DEVICE_UUID) is missing", "32 (or 62)"] },
        { "uuid", "123", ["is \"123\"", "32 (or 62)"] },
        { "key", "", ["--key-file (or GATEWAY_KEY, BALENA_API_KEY, RESIN_API_KEY) is missing"] },
        { "key-file", "/absent/key", ["--key-file (GATEWAY_KEY_FILE)", "/absent/key"] },
        { "target", "80", ["--target (GATEWAY_TARGET) is \"80\"", "http://127.0.0.1:80"] },
        { "target-insecure", "maybe", ["--target-insecure (GATEWAY_TARGET_INSECURE) is \"maybe\"", "true or false"] },
        { "ca", "/absent/ca.pem", ["--ca (GATEWAY_CA)", "/absent/ca.pem"] },
        { "config", "/absent/agent.env", ["--config (GATEWAY_CONFIG)", "/absent/agent.env"] },
    };

    [Theory]
    [MemberData(nameof(Wrong))]
    public void A_wrong_setting_is_named_with_its_remedy(string flag, string value, string[] said)
    {
        var flags = new Dictionary<string, string> { ["gateway"] = "https://tunnel.a", ["uuid"] = Uuid, ["key"] = "k", [flag] = value };

        var message = Assert.Throws<SettingsException>(() => Read(flags, [])).Message;

        Assert.All(said, part => Assert.Contains(part, message, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("ca", "no certificate", "holds no certificate")]
    [InlineData("ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds no readable certificate")]
    [InlineData("config", "GATEWAY_URL https://tunnel.a", "line 1 is no NAME=value")]
    public void A_file_with_something_else_in_it_is_named(string flag, string text, string said)
    {
        var path = Write("file", text);
        var flags = new Dictionary<string, string> { ["gateway"] = "https://tunnel.a", ["uuid"] = Uuid, ["key"] = "k", [flag] = path };

        var message = Assert.Throws<SettingsException>(() => Read(flags, [])).Message;

        Assert.Contains(path, message, StringComparison.Ordinal);
        Assert.Contains(said, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(78, "gateway-agent: --gateway (GATEWAY_URL) is missing", "--uuid", Uuid, "--key", "k")]
    [InlineData(78, "gateway-agent: --uuid", "--gateway", "https://tunnel.a", "--uuid", "x", "--key", "k")]
    [InlineData(2, "--help", "--nonsense")]
    [InlineData(0, "--target-insecure", "--help")]
    public async Task The_exit_status_says_what_kind_of_end_it_was(int status, string said, params string[] arguments)
    {
        await using var agent = ChildProcess.StartOwn("gateway-agent", arguments);

        Assert.Equal(status, await agent.WaitForExitAsync());
        Assert.Contains(said, agent.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", agent.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_that_is_no_key_is_refused_before_anything_is_dialled()
    {
        await using var agent = ChildProcess.StartOwn("gateway-agent", ["--gateway", "http://127.0.0.1:1", "--uuid", Uuid], new() { ["GATEWAY_KEY"] = "two words" });

        Assert.Equal(78, await agent.WaitForExitAsync());
        Assert.Contains("gateway-agent: ", agent.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("two words", agent.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", agent.Output, StringComparison.Ordinal);
    }
}
