using Gateway.Tests.Harness;

[assembly: AssemblyFixture(typeof(SharedGateway))]

namespace Gateway.Tests.Harness;

/// <summary>One gateway for all tests that need no settings of their own; each test adds its own devices.</summary>
public sealed class SharedGateway : IAsyncLifetime
{
    internal TestGateway Gateway { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Gateway = await TestGateway.StartAsync(new() { ["Storage:Timeout"] = "00:00:10" });   // a busy machine is no test

    public ValueTask DisposeAsync() => Gateway.DisposeAsync();
}

/// <summary>A device behind the shared gateway whose application is the test's own.</summary>
internal sealed class Visit : IAsyncDisposable
{
    private readonly IAsyncDisposable? _app;
    private readonly TestAgent _agent;

    private Visit(TestGateway gateway, TestDevice device, TestAgent agent, IAsyncDisposable? app) =>
        (Gateway, Device, _agent, _app) = (gateway, device, agent, app);

    public TestGateway Gateway { get; }

    public TestDevice Device { get; }

    /// <summary>Starts an agent for the application; the application ends with the visit.</summary>
    public static async Task<Visit> ToAsync(TestGateway gateway, TestApp app) => await ToAsync(gateway, app.Url, app);

    public static async Task<Visit> ToAsync(TestGateway gateway, RawApp app) => await ToAsync(gateway, app.Url, app);

    public static async Task<Visit> ToAsync(TestGateway gateway, Uri target, IAsyncDisposable? app = null)
    {
        var device = await gateway.AddDeviceAsync();
        return new Visit(gateway, device, await gateway.ConnectAsync(device, target), app);
    }

    /// <summary>The address for a visitor of this HTTP version: HTTP/2 is spoken over TLS.</summary>
    public Uri Url(Version version, string pathAndQuery = "/") =>
        new($"{(version.Major == 2 ? "https" : "http")}://{Device.Host}{pathAndQuery}", new UriCreationOptions { DangerousDisablePathAndQueryCanonicalization = true });

    public async ValueTask DisposeAsync()
    {
        await _agent.DisposeAsync();
        if (_app is not null)
        {
            await _app.DisposeAsync();
        }
    }
}

/// <summary>The HTTP versions that visitors speak, as theory data.</summary>
public static class HttpVersions
{
    public static TheoryData<string> All => ["1.1", "2.0"];
}
