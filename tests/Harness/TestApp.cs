using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Gateway.Tests.Harness;

/// <summary>An application on a device: a Kestrel of its own on a loopback port.</summary>
internal sealed class TestApp : IAsyncDisposable
{
    private readonly WebApplication _app;

    private TestApp(WebApplication app) => _app = app;

    public Uri Url => new(_app.Urls.First());

    public static Task<TestApp> StartAsync(RequestDelegate answer, HttpProtocols protocols = HttpProtocols.Http1, Action<KestrelServerOptions>? configure = null) =>
        StartAsync(static _ => { }, app => app.Run(answer), protocols, configure);

    public static async Task<TestApp> StartAsync(
        Action<IServiceCollection> services, Action<WebApplication> compose, HttpProtocols protocols = HttpProtocols.Http1, Action<KestrelServerOptions>? configure = null)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        services(builder.Services);
        builder.Services.Configure<HostOptions>(static options => options.ShutdownTimeout = TimeSpan.FromSeconds(1));
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MaxRequestHeadersTotalSize = 128 * 1024;
            kestrel.Limits.MaxRequestHeaderCount = 1000;
            kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = protocols);
            configure?.Invoke(kestrel);
        });
        var app = builder.Build();
        compose(app);
        await app.StartAsync();
        return new TestApp(app);
    }

    /// <summary>
    /// For applications that neither read nor answer: waits for the end of the request, and keeps its connection. Nothing else may hold a
    /// connection whose buffers are full, and the garbage collector would end it.
    /// </summary>
    public static Task UntilAbortedAsync(CancellationToken aborted) => Task.Delay(TimeSpan.FromHours(1), aborted);

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
