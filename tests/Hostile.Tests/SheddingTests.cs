using System.Globalization;
using System.Net;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Tunnel.Agent;

namespace Gateway.Tests;

/// <summary>A gateway that has little memory, and visitors who want more than there is.</summary>
[Collection(nameof(Alone))]
public sealed class SheddingTests
{
    private const int MostVisitors = 1000;

    [Fact]
    public async Task A_gateway_with_little_memory_sheds_recovers_and_is_the_same_process_with_the_same_tunnels()
    {
        Assert.SkipUnless(Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1", "Heavy.");
        await using var app = await TestApp.StartAsync(static async context =>
        {
            if (context.Request.Path == "/large")
            {
                var part = new byte[64 * 1024];
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await context.Response.Body.WriteAsync(part, context.RequestAborted);

                    // Writing to nobody takes no time: fifty of them would leave no thread to tell them.
                    await Task.Delay(1, context.RequestAborted);
                }
            }

            await context.Response.WriteAsync("hello");
        });
        await using var gateway = await GatewayProcess.StartAsync(null, "Limits:Node:MemoryMib=400", "Storage:Timeout=00:00:10");
        var (greedy, other) = (await gateway.AddDeviceAsync(), await gateway.AddDeviceAsync());
        await using var greedyAgent = await ConnectAsync(gateway, greedy, app);
        await using var otherAgent = await ConnectAsync(gateway, other, app);
        var process = gateway.Process.Id;
        using var visitor = gateway.CreateVisitor();
        async Task<HttpStatusCode> AskAsync(TestDevice device)
        {
            using var response = await visitor.GetAsync(gateway.Url(device));
            return response.StatusCode;
        }

        // Visitors who read nothing, one more after the other, until it sheds.
        var readers = new List<RawConnection>();
        var status = HttpStatusCode.OK;
        while (status == HttpStatusCode.OK && readers.Count < MostVisitors)
        {
            var reader = await RawConnection.OpenAsync(gateway.Port);
            await reader.SendAsync($"GET /large HTTP/1.1\r\nHost: {greedy.Uuid}.localhost\r\n\r\n");
            readers.Add(reader);
            status = await AskAsync(other);
        }

        Assert.Equal(HttpStatusCode.ServiceUnavailable, status);
        var peak = GatewayProcess.PeakMemory(gateway.Process) >> 20;
        foreach (var reader in readers)
        {
            await reader.DisposeAsync();
        }

        await Eventually.TrueAsync(async () => await AskAsync(other) == HttpStatusCode.OK && await AskAsync(greedy) == HttpStatusCode.OK, "both devices are served again");
        Assert.False(gateway.Process.HasExited);
        Assert.Equal(process, gateway.Process.Id);
        Assert.Equal(2, gateway.Process.Output.Split(" up, from ").Length - 1);
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"sheds at {readers.Count} visitors who read nothing, at most {peak} of 400 MiB; recovers, same process, tunnels stayed"));
    }

    private static async Task<IAsyncDisposable> ConnectAsync(GatewayProcess gateway, TestDevice device, TestApp app)
    {
        var agent = AgentApplication.Build(new AgentSettings { Gateway = new Uri(gateway.TunnelAddress), Uuid = device.Uuid, Key = device.Key, Target = app.Url, TargetInsecure = false, Connections = 1 });
        await agent.StartAsync();
        using var visitor = gateway.CreateVisitor();
        await Eventually.TrueAsync(
            async () =>
            {
                using var response = await visitor.GetAsync(gateway.Url(device));
                return response.IsSuccessStatusCode;
            },
            "the device answers");
        return agent;
    }
}
