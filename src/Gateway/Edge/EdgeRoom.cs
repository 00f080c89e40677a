using Gateway.Listeners;
using Gateway.Listeners.Http1;
using Gateway.Listeners.Http2;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;

namespace Gateway.Edge;

internal static class EdgeRoom
{
    public static void AddEdge(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddOptions<EdgeOptions>().BindConfiguration(EdgeOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<EdgeOptions>, EdgeOptions.Validator>();
        services.AddHttpForwarder();
        services.AddSingleton<VisitorFields>();
        services.AddSingleton<EdgeForwarder>();
        services.AddSingleton<ActiveVisits>();
        services.AddSingleton<EdgeMiddleware>();
        services.AddSingleton<HopEndpoint>();
    }

    /// <summary>What is ambiguous is refused before anybody acts upon it.</summary>
    public static void UseStrictness(this WebApplication app)
    {
        app.UseStrictHttp1Refusal(RefuseAsync);
        app.UseStrictHttp2Refusal(RefuseAsync);

        static Task RefuseAsync(HttpContext context, string rule) => FailureResponse.WriteAsync(context, Failure.BadRequest.Because(rule));
    }

    /// <summary>Other nodes, on the inner listener, and nobody else there.</summary>
    public static void MapHops(this WebApplication app)
    {
        var hops = app.Services.GetRequiredService<HopEndpoint>();
        app.Use(next => context => context.GetAudience() == Audience.Node ? hops.AcceptAsync(context) : next(context));
    }

    /// <summary>Whoever is neither an operator nor a device is a visitor.</summary>
    public static void MapEdge(this WebApplication app)
    {
        app.UseHttp1Trailers();
        app.Run(app.Services.GetRequiredService<EdgeMiddleware>().InvokeAsync);

        // The order of a stop: visitors' requests in flight finish, then the tunnels end. Kestrel alone would wait for the
        // tunnels too, which never end by themselves.
        var visits = app.Services.GetRequiredService<ActiveVisits>();
        var tunnels = app.Services.GetRequiredService<TunnelRegistry>();
        app.Lifetime.ApplicationStopping.Register(() => _ = FinishAsync());

        async Task FinishAsync()
        {
            var timeout = app.Services.GetRequiredService<IOptions<Listeners.ListenerOptions>>().Value.DrainTimeout;
            await visits.WhenIdleAsync().WaitAsync(timeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await tunnels.CloseAsync();
        }
    }
}
