using System.ComponentModel;
using System.Reflection;
using System.Security.Claims;
using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Gateway.Cluster;
using Gateway.Devices;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Gateway.Admin.Api;

/// <summary>The audit, the gateway's own state, and who one is.</summary>
internal static class GeneralEndpoints
{
    private const string Tag = "General";

    /// <summary>The program's version.</summary>
    public static string Version { get; } = typeof(GeneralEndpoints).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0];

    public static void MapGeneral(this IEndpointRouteBuilder api)
    {
        api.MapGet("/audit", AuditAsync).WithName("ListAudit").WithTags(Tag).WithSummary("Who changed what").WithDescription("The newest first.")
            .ProducesProblem(StatusCodes.Status400BadRequest);
        api.MapGet("/status", StatusAsync).WithName("GetStatus").WithTags(Tag).WithSummary("The gateway's own state");
        api.MapGet("/whoami", WhoAmI).WithName("WhoAmI").WithTags(Tag).WithSummary("Which token this is");
    }

    private static async Task<Ok<AuditPage>> AuditAsync(
        AuditLog audit,
        [Description("Only of this device.")] string? device,
        [Description("Only by tokens of this name, or the token of this id.")] string? actor,
        [Description("Only this action, e.g. device.update.")] string? action,
        [Description("1 to 1000; 50 if left out.")] string? limit,
        [Description("Where the page before ended: its \"next\".")] string? cursor)
    {
        var subject = device is null ? null : Input.Uuid(device).ToString();
        var most = Input.Limit(limit);
        var entries = await audit.ListAsync(
            entry => (subject is null || entry.Subject == subject) && (actor is null || entry.Actor.Name == actor || entry.Actor.Id == actor) && (action is null || entry.Action == action),
            most + 1, cursor);
        return TypedResults.Ok(entries.Count > most ? new AuditPage([.. entries.Take(most)], entries[most - 1].Id) : new AuditPage(entries, null));
    }

    private static async Task<Ok<GatewayStatus>> StatusAsync(DeviceCatalogue catalogue, Presence presence, NodeIdentity node) => TypedResults.Ok(new GatewayStatus(
        Version, node.Id, catalogue.Count, (await presence.AllOnlineAsync()).Count, catalogue.Loaded.IsCompletedSuccessfully));

    private static Ok<WhoAmI> WhoAmI(HttpContext context) => TypedResults.Ok(new WhoAmI(
        Actor.Of(context).Id, Actor.Of(context).Name, context.User.FindFirstValue(AdminClaims.Scope)!));
}
