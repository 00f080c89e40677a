using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Tunnels;

namespace Gateway.Admin;

/// <summary>What the admin listener says of this node.</summary>
internal static class HealthRoom
{
    /// <summary><c>/healthz</c>: the process lives. <c>/readyz</c>: it can serve; 503 with the reasons when it cannot.</summary>
    public static void MapHealth(this WebApplication app)
    {
        var node = app.Services.GetRequiredService<INode>();
        var redis = app.Services.GetRequiredService<RedisConnection>();
        app.Use(next => context => context.GetAudience() == Audience.Admin ? AnswerAsync(context) : next(context));

        Task AnswerAsync(HttpContext context) => context.Request.Path.Value switch
        {
            "/healthz" => WriteAsync(context, []),
            "/readyz" => WriteAsync(context, Reasons()),
            _ => NotFoundAsync(context),
        };

        List<string> Reasons()
        {
            var reasons = new List<string>();
            if (!redis.IsConnected)
            {
                reasons.Add("Redis does not answer.");
            }

            if (app.Lifetime.ApplicationStopping.IsCancellationRequested)
            {
                reasons.Add("The gateway is stopping.");
            }
            else if (node.IsDraining)
            {
                reasons.Add("The node drains.");
            }

            return reasons;
        }
    }

    private static Task WriteAsync(HttpContext context, List<string> reasons)
    {
        context.Response.StatusCode = reasons.Count == 0 ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(new { status = reasons.Count == 0 ? "ok" : "unavailable", reasons });
    }

    private static Task NotFoundAsync(HttpContext context)
    {
        context.Response.StatusCode = StatusCodes.Status404NotFound;
        return context.Response.WriteAsync("Here are /healthz and /readyz.\n");
    }
}
