using Gateway.Certificates;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Tunnels;
using Microsoft.Extensions.Options;

namespace Gateway.Admin;

/// <summary>What the admin listener says of this node, to orchestrators and balancers.</summary>
internal static class HealthRoom
{
    /// <summary>
    /// <c>/healthz</c>: the process lives. <c>/startupz</c>: it has come up. <c>/readyz</c>: it can serve. 503 with the reasons
    /// when not.
    /// </summary>
    public static void MapHealth(this IApplicationBuilder app)
    {
        var node = app.ApplicationServices.GetRequiredService<INode>();
        var redis = app.ApplicationServices.GetRequiredService<RedisConnection>();
        var certificates = app.ApplicationServices.GetRequiredService<ServedCertificates>();

        // An ACME server visits a node that wants its first certificate: such a node is ready without.
        var needsCertificate = app.ApplicationServices.GetRequiredService<IOptions<ListenerOptions>>().Value is { Https.Length: > 0 } or { AdminHttps.Length: > 0 }
            && !app.ApplicationServices.GetRequiredService<IOptions<CertificateOptions>>().Value.UsesAcme;
        // While Redis is away the node serves what it knows. If it were not ready all nodes would be so at once, and nobody would be served.
        var staleness = app.ApplicationServices.GetRequiredService<IOptions<DeviceOptions>>().Value.MaxStaleness;
        var lifetime = app.ApplicationServices.GetRequiredService<IHostApplicationLifetime>();
        app.Use(next => context => AnswerAsync(context, next));

        Task AnswerAsync(HttpContext context, RequestDelegate next) => context.Request.Path.Value switch
        {
            "/healthz" => WriteAsync(context, []),
            "/startupz" => WriteAsync(context, Reasons(
                (!lifetime.ApplicationStarted.IsCancellationRequested, "The listeners are not open yet."),
                (!redis.FirstConnected.IsCompletedSuccessfully, "Redis has not been reached yet."),
                (needsCertificate && certificates.Default is null, "There is no certificate for Listen:Https yet."))),
            "/readyz" => WriteAsync(context, Reasons(
                (!redis.WasConnectedWithin(staleness), "Redis does not answer."),
                (needsCertificate && certificates.Default is null, "There is no certificate for Listen:Https."),
                (lifetime.ApplicationStopping.IsCancellationRequested, "The gateway is stopping."),
                (node.IsDraining && !lifetime.ApplicationStopping.IsCancellationRequested, "The node drains."))),
            _ => next(context),
        };
    }

    private static List<string> Reasons(params ReadOnlySpan<(bool Holds, string Reason)> checks)
    {
        var reasons = new List<string>();
        foreach (var (holds, reason) in checks)
        {
            if (holds)
            {
                reasons.Add(reason);
            }
        }

        return reasons;
    }

    private static Task WriteAsync(HttpContext context, List<string> reasons)
    {
        context.Response.StatusCode = reasons.Count == 0 ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(new { status = reasons.Count == 0 ? "ok" : "unavailable", reasons });
    }
}
