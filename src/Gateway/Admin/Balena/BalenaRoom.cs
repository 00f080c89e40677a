using System.Text.Json;
using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Gateway.Listeners;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Gateway.Admin.Balena;

/// <summary>As much of balena's API as balena-cli and balena-sdk need, unmodified, to show and switch public URLs and to find devices. Tokens are this gateway's.</summary>
internal static class BalenaRoom
{
    private const string WebAccessible = "is_web_accessible";
    private const string DeviceName = "device_name";

    public static void MapBalena(this IEndpointRouteBuilder endpoints)
    {
        var balena = endpoints.MapGroup("").ExcludeFromDescription();
        balena.MapGet("/config", Config).AllowAnonymous();

        // Versions differ in nothing of this.
        var authorized = endpoints.MapGroup("").RequireAuthorization(ApiRoom.Policy(Scope.Read)).WithMetadata(new ScopeNeeded(Scope.Read)).ExcludeFromDescription();
        authorized.MapGet("/actor/v1/whoami", WhoAmI);
        authorized.MapGet("/v{version:int}/device(uuid='{uuid}')", GetAsync);
        authorized.MapGet("/v{version:int}/device({id:long})", GetByIdAsync);
        authorized.MapGet("/v{version:int}/device", ListAsync);
        authorized.MapPatch("/v{version:int}/device", PatchAsync).Needs(Scope.Operate);
        authorized.MapGet("/v{version:int}/application", Fleets);
    }

    private static Ok<object> Config(HostNames hosts) => TypedResults.Ok<object>(new { deviceUrlsBase = hosts.PrimaryDomain });

    private static Ok<object> WhoAmI(HttpContext context)
    {
        var actor = Actor.Of(context);
        return TypedResults.Ok<object>(new { id = 1, actorType = "user", actorTypeId = 1, username = actor.Name, email = $"{actor.Id}@gateway.invalid" });
    }

    private static Task<Ok<object>> GetAsync(BalenaDevices devices, string uuid) => AnswerAsync(devices, $"uuid eq '{uuid.Replace("'", "''", StringComparison.Ordinal)}'");

    private static Task<Ok<object>> GetByIdAsync(BalenaDevices devices, long id) => AnswerAsync(devices, $"id eq {id}");

    private static Task<Ok<object>> ListAsync(HttpContext context, BalenaDevices devices) => AnswerAsync(devices, context.Request.Query["$filter"]);

    private static async Task<Ok<object>> AnswerAsync(BalenaDevices devices, string? filter) =>
        TypedResults.Ok<object>(new { d = await devices.ShowAsync(await devices.FindAsync(ODataFilter.Parse(filter))) });

    private static Ok<object> Fleets(HttpContext context, BalenaDevices devices) => TypedResults.Ok<object>(new { d = devices.FindFleets(ODataFilter.Parse(context.Request.Query["$filter"])) });

    private static async Task<ContentHttpResult> PatchAsync(HttpContext context, BalenaDevices devices, DeviceOperations operations, JsonElement body)
    {
        if (string.IsNullOrWhiteSpace(context.Request.Query["$filter"]))
        {
            throw Input.Invalid("A change needs a $filter: without one it would be of every device.");
        }

        if (body.ValueKind != JsonValueKind.Object || body.EnumerateObject().Any(static property => property.Name is not (WebAccessible or DeviceName)))
        {
            throw Input.Invalid($"Only {WebAccessible} and {DeviceName} can be changed here.");
        }

        var enabled = !body.TryGetProperty(WebAccessible, out var flag) ? (bool?)null
            : flag.ValueKind is JsonValueKind.True or JsonValueKind.False ? flag.GetBoolean() : throw Input.Invalid($"{WebAccessible} is true or false.");
        var name = !body.TryGetProperty(DeviceName, out var text) ? null
            : text.ValueKind == JsonValueKind.String ? Input.Name(text.GetString()) : throw Input.Invalid($"{DeviceName} is a text.");
        var found = await devices.FindAsync(ODataFilter.Parse(context.Request.Query["$filter"]));
        var actor = Actor.Of(context);
        if (found is [var one])
        {
            await operations.UpdateAsync(actor, one.Uuid, record => record with { PublicUrl = enabled ?? record.PublicUrl, Name = name ?? record.Name });
        }
        else if (name is not null)
        {
            throw Input.Invalid($"{found.Count} devices match: a name is for one.");
        }
        else if (enabled is { } wanted)
        {
            await foreach (var progress in operations.SetPublicUrlsAsync(actor, [.. found.Select(static device => device.Uuid)], wanted, "balena's tools", context.RequestAborted))
            {
                _ = progress;
            }
        }

        return TypedResults.Text("OK");
    }
}
