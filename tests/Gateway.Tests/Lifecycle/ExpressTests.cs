using Gateway.Tests.Harness;

namespace Gateway.Tests.Lifecycle;

/// <summary>The example that device users start from: express on port 80, as root, and an agent with no setting but its device.</summary>
public sealed class ExpressTests
{
    [Fact]
    public async Task The_express_example_on_port_80_says_hello_through_the_gateway()
    {
        await using var network = await NetworkNamespace.CreateAsync();
        await using var gateway = await GatewayProcess.StartAsync(network);
        var device = await gateway.AddDeviceAsync();
        await using var express = ChildProcess.Start([.. network.Enter, "node", Repository.File("tests/express/app.js")]);
        await express.WaitForOutputAsync("Example app listening at");
        await using var agent = gateway.StartAgent(device);
        await agent.WaitForOutputAsync("Tunnel up");

        var (status, output) = await network.RunAsync("curl", "--silent", "--show-error", "--max-time", "30", "--include", gateway.Url(device));

        Assert.Equal(0, status);
        Assert.StartsWith("HTTP/1.1 200 OK", output, StringComparison.Ordinal);
        Assert.Contains("X-Powered-By: Express", output, StringComparison.Ordinal);
        Assert.EndsWith("Hello World!", output.TrimEnd(), StringComparison.Ordinal);
    }
}
