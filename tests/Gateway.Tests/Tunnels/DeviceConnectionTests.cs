using System.Diagnostics.Metrics;
using System.Runtime.CompilerServices;
using Gateway.Tests.Harness;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.Metrics.Testing;

namespace Gateway.Tests.Tunnels;

/// <summary>What a tunnel keeps of the request that opened it. An update of the platform may bring something back: then these tell.</summary>
public sealed class DeviceConnectionTests
{
    [Fact]
    public async Task An_idle_tunnel_keeps_nothing_of_the_request_that_opened_it()
    {
        var seen = new Requests();
        await using var gateway = await TestGateway.StartAsync(configure: builder => builder.Services.AddSingleton<IStartupFilter>(seen));
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, app.Url);

        // The server's own loops hold a connection a moment longer than its request.
        await Eventually.TrueAsync(
            () =>
            {
                GC.Collect();
                return seen.AreGone;
            },
            "the request's objects are collected");

        using var visitor = gateway.CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
        Assert.Equal(1, seen.OfDevices);
    }

    [Fact]
    public async Task The_server_has_no_connection_of_a_tunnel()
    {
        await using var gateway = await TestGateway.StartAsync();
        using var connections = new MetricCollector<long>(gateway.Services.GetRequiredService<IMeterFactory>(), "Microsoft.AspNetCore.Server.Kestrel", "kestrel.active_connections");
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        var device = await gateway.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, app.Url);

        int Of(int port, int change) => connections.GetMeasurementSnapshot().Count(one => one.Value == change && Equals(one.Tags["server.port"], port));
        await Eventually.TrueAsync(() => Of(gateway.HttpsPort, -1) == 1, "the server's connection ends");
        Assert.Equal(1, Of(gateway.HttpsPort, 1));

        using var visitor = gateway.CreateVisitor();
        Assert.Equal("here", await visitor.GetStringAsync(new Uri($"http://{device.Host}/")));
    }

    private sealed class Requests : IStartupFilter
    {
        private readonly List<WeakReference> _requests = [];

        public int OfDevices => _requests.Count;

        public bool AreGone => _requests.TrueForAll(static request => !request.IsAlive);

        public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
        {
            app.Use(Note);
            next(app);
        };

        [MethodImpl(MethodImplOptions.NoInlining)]
        private RequestDelegate Note(RequestDelegate next) => context =>
        {
            if (context.Features.Get<DeviceConnection>() is not null)
            {
                _requests.Add(new WeakReference(context));
            }

            return next(context);
        };
    }
}
