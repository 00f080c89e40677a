using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Certificates;

/// <summary>A gateway without anybody's help: a development CA of its own.</summary>
public sealed class SelfSignedTests : IDisposable
{
    private readonly DirectoryInfo _data = Directory.CreateTempSubdirectory("gateway-ca-");

    public void Dispose() => _data.Delete(recursive: true);

    private Dictionary<string, string?> Settings => new()
    {
        ["Certificates:Source"] = "SelfSigned", ["Certificates:File"] = "", ["Certificates:KeyFile"] = "", ["Storage:DataDirectory"] = _data.FullName,
    };

    private async Task<X509Certificate2> RootAsync()
    {
        await using var command = ChildProcess.StartOwn("gateway", ["certificate", "root", "--set", $"Storage:DataDirectory={_data.FullName}"]);
        Assert.Equal(0, await command.WaitForExitAsync());
        return X509Certificate2.CreateFromPem(command.Output);
    }

    [Fact]
    public async Task Who_trusts_the_root_that_the_command_prints_trusts_every_device_also_after_a_restart()
    {
        X509Certificate2? root = null;
        for (var i = 0; i < 2; i++)
        {
            await using var gateway = await TestGateway.StartAsync(Settings);
            root ??= await RootAsync();
            await using var stream = await Handshake.OpenAsync(gateway.HttpsPort, Trusting(root, $"0123456789abcdef0123456789abcdef.{TestGateway.Domain}"));
            Assert.True(stream.IsAuthenticated);
        }

        Assert.True(OperatingSystem.IsWindows() || File.GetUnixFileMode(Path.Combine(_data.FullName, "ca", "root.key")) == (UnixFileMode.UserRead | UnixFileMode.UserWrite));
    }

    [Fact]
    public async Task Devices_of_localhost_that_no_wildcard_can_be_for_get_theirs_at_first_use()
    {
        await using var gateway = await TestGateway.StartAsync(Settings.With(("Edge:Domains:0", "localhost")));
        var root = await RootAsync();
        var device = await gateway.AddDeviceAsync();
        var off = await gateway.AddDeviceAsync(publicUrl: false);

        await using var tunnel = await Handshake.OpenAsync(gateway.HttpsPort, Trusting(root, "tunnel.localhost"));
        await using var visitor = await Handshake.OpenAsync(gateway.HttpsPort, Trusting(root, $"{device.Uuid}.localhost"));
        Assert.True(visitor.IsAuthenticated);
        Assert.DoesNotContain($"{off.Uuid}.localhost", (await Handshake.TryAsync(gateway.HttpsPort, $"{off.Uuid}.localhost"))!.GetNameInfo(X509NameType.DnsName, false), StringComparison.Ordinal);
    }

    private static SslClientAuthenticationOptions Trusting(X509Certificate2 root, string name)
    {
        var options = PebbleServer.Trust(root);
        options.TargetHost = name;
        return options;
    }
}
