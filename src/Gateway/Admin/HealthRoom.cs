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
        app.Use(next => context => context.GetAudience() == Audience.Admin ? AnswerAsync(context, next) : next(context));

        Task AnswerAsync(HttpContext context, RequestDelegate next) => context.Request.Path.Value switch
        {
            "/healthz" => WriteAsync(context, []),
            "/readyz" => WriteAsync(context, Reasons()),
            _ => next(context),
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
}
