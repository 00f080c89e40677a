using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Gateway.Admin.Api;

/// <summary><c>/devices/{uuid}/keys</c>: issue, list, rotate with overlap, revoke.</summary>
internal static class KeyEndpoints
{
    private const string Tag = "Keys";

    private static readonly TimeSpan MaxOverlap = TimeSpan.FromDays(365);

    public static void MapKeys(this IEndpointRouteBuilder api)
    {
        api.MapGet("/devices/{uuid}/keys", ListAsync).WithName("ListKeys").WithTags(Tag).WithSummary("List a device's keys").WithDescription("By their fingerprints; a key itself is shown only when it is issued.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
        api.MapPost("/devices/{uuid}/keys", IssueAsync).Needs(Scope.Operate).WithName("IssueKey").WithTags(Tag).WithSummary("Issue one more key")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict);
        api.MapPost("/devices/{uuid}/keys/rotate", RotateAsync).Needs(Scope.Operate).WithName("RotateKeys").WithTags(Tag).WithSummary("Replace a device's keys")
            .WithDescription("Issues a key; all others stay good for the overlap, so that the device can take the new one meanwhile.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
        api.MapDelete("/devices/{uuid}/keys/{fingerprint}", RevokeAsync).Needs(Scope.Operate).WithName("RevokeKey").WithTags(Tag).WithSummary("Revoke a key")
            .WithDescription("The tunnels that it opened end at once, on every node.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
    }

    private static async Task<Ok<KeyList>> ListAsync(DeviceDocuments documents, string uuid) =>
        TypedResults.Ok(new KeyList([.. (await documents.FindAsync(Input.Uuid(uuid))).Keys.OrderBy(static key => key.Created).Select(KeyDocument.Of)]));

    private static async Task<Created<IssuedKey>> IssueAsync(HttpContext context, DeviceOperations operations, TimeProvider time, string uuid, KeyCreation body)
    {
        var (key, text) = await operations.IssueKeyAsync(Actor.Of(context), Input.Uuid(uuid), Input.Name(body.Name), Input.Expires(body.Expires, time));
        return Created(uuid, key, text);
    }

    private static async Task<Created<IssuedKey>> RotateAsync(HttpContext context, DeviceOperations operations, string uuid, KeyRotation body)
    {
        var overlap = body.OverlapSeconds is not { } seconds ? TimeSpan.FromDays(1)
            : seconds >= 0 && seconds <= MaxOverlap.TotalSeconds ? TimeSpan.FromSeconds(seconds)
            : throw Input.Invalid($"overlapSeconds is {seconds}: give 0 to {MaxOverlap.TotalSeconds:F0}.");
        var (key, text) = await operations.RotateKeysAsync(Actor.Of(context), Input.Uuid(uuid), Input.Name(body.Name), overlap);
        return Created(uuid, key, text);
    }

    private static async Task<NoContent> RevokeAsync(HttpContext context, DeviceOperations operations, string uuid, string fingerprint)
    {
        await operations.RevokeKeyAsync(Actor.Of(context), Input.Uuid(uuid), fingerprint);
        return TypedResults.NoContent();
    }

    private static Created<IssuedKey> Created(string uuid, Devices.DeviceKey key, string text) =>
        TypedResults.Created($"/api/v1/devices/{uuid}/keys", new IssuedKey(KeyDocument.Of(key), text));
}
