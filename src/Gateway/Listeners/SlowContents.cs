using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Gateway.Listeners;

/// <summary>
/// Lets request bodies be quiet for which the server's lowest rate (<c>Listen:MinContentRate</c>) makes no sense: streams, WebSockets, tunnels,
/// and what other nodes hand over, who have looked at it.
/// </summary>
internal static class SlowContents
{
    /// <summary>Comes before the first who reads a body.</summary>
    public static void UseSlowContents(this WebApplication app) => app.Use(static next => context =>
    {
        if ((context.Request.ContentLength is null || context.GetAudience() == Audience.Node)
            && context.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate)
        {
            rate.MinDataRate = null;
        }

        return next(context);
    });
}
