using Gateway.Cluster;
using Gateway.Limits;
using Gateway.Listeners;
using Gateway.Listeners.Http1;
using Gateway.Listeners.Http2;
using Gateway.Telemetry;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Logging.Console;
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
        services.AddSingleton<EdgeBudgets>();
        services.AddSingleton<Backlogs>();
        services.AddSingleton<ActiveVisits>();
        services.AddSingleton<EdgeMiddleware>();
        services.AddSingleton<HopEndpoint>();
        services.AddHostedService<Departure>();
        services.AddSingleton<VisitorAddresses>();
        services.AddSingleton<AccessLog>();
        services.AddSingleton<AccessLogWriter>();
        services.AddHostedService(static provider => provider.GetRequiredService<AccessLogWriter>());
        builder.Logging.AddFilter<ConsoleLoggerProvider>(AccessLog.Category, LogLevel.None);
        services.AddSingleton<VisitObserver>();
    }

    /// <summary>Comes before everybody, so that refusals are seen too.</summary>
    public static void UseVisitObserver(this WebApplication app)
    {
        var observer = app.Services.GetRequiredService<VisitObserver>();
        app.Use(next => context => observer.InvokeAsync(context, next));
    }

    /// <summary>What is ambiguous is refused before anybody acts upon it.</summary>
    public static void UseStrictness(this WebApplication app)
    {
        var metrics = app.Services.GetRequiredService<GatewayMetrics>();
        app.UseStrictHttp1Refusal(RefuseAsync);
        app.UseStrictHttp2Refusal(RefuseAsync);

        Task RefuseAsync(HttpContext context, string rule) => FailureResponse.WriteAsync(context, Failure.BadRequest.Because(rule), metrics);
    }

    /// <summary>A node that goes away lets each connection end with its next answer (<c>Connection: close</c>, or GOAWAY), so that clients look elsewhere.</summary>
    private static void UseFarewell(this WebApplication app)
    {
        var nodes = app.Services.GetRequiredService<Nodes>();
        app.Use(next => context =>
        {
            // From the beginning of the departure on: at its end nobody is left whose next request would meet a closed connection.
            if (nodes.IsDraining)
            {
                context.Features.Get<IConnectionLifetimeNotificationFeature>()?.RequestClose();
            }

            return next(context);
        });
    }

    /// <summary>Other nodes, on the inner listener.</summary>
    public static void MapHops(this IApplicationBuilder app) => app.Run(app.ApplicationServices.GetRequiredService<HopEndpoint>().AcceptAsync);

    /// <summary>Whoever is neither an operator nor a device is a visitor.</summary>
    public static void MapEdge(this WebApplication app)
    {
        app.Services.GetRequiredService<VisitorBudgets>().Exempt(app.Services.GetRequiredService<VisitorFields>().Trusted);
        app.UseSecureOnly();
        app.UseHttp1Trailers();
        app.UseFarewell();
        app.Run(app.Services.GetRequiredService<EdgeMiddleware>().InvokeAsync);
    }
}
