using System.Collections.Immutable;
using System.ComponentModel;
using System.Text.Json;
using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.Api;

/// <summary><c>/devices</c>: create, read, list, update, delete.</summary>
internal static class DeviceEndpoints
{
    private const string Tag = "Devices";
    private const string MergePatch = "application/merge-patch+json";

    public static void MapDevices(this IEndpointRouteBuilder api)
    {
        api.MapGet("/devices", ListAsync).WithName("ListDevices").WithTags(Tag).WithSummary("List devices").WithDescription("Pages by cursor, in the order of uuids or names.")
            .ProducesProblem(StatusCodes.Status400BadRequest);
        api.MapPost("/devices", CreateAsync).Needs(Scope.Operate).WithName("CreateDevice").WithTags(Tag).WithSummary("Create a device")
            .WithDescription("The answer has the device's key, this once.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status409Conflict);
        api.MapGet("/devices/{uuid}", GetAsync).WithName("GetDevice").WithTags(Tag).WithSummary("Read a device")
            .Produces(StatusCodes.Status304NotModified).ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
        api.MapPut("/devices/{uuid}", PutAsync).Needs(Scope.Operate).WithName("PutDevice").WithTags(Tag).WithSummary("Create or replace a device")
            .WithDescription("A device that is created this way has no key yet. If-Match changes only the version that is named; If-None-Match: * only creates.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status409Conflict).ProducesProblem(StatusCodes.Status412PreconditionFailed);
        api.MapPatch("/devices/{uuid}", PatchAsync).Needs(Scope.Operate).WithName("PatchDevice").WithTags(Tag).WithSummary("Change parts of a device")
            .Accepts<DevicePatch>(MergePatch, "application/json")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound)
            .ProducesProblem(StatusCodes.Status412PreconditionFailed).ProducesProblem(StatusCodes.Status415UnsupportedMediaType);
        api.MapDelete("/devices/{uuid}", DeleteAsync).Needs(Scope.Operate).WithName("DeleteDevice").WithTags(Tag).WithSummary("Delete a device")
            .WithDescription("Its tunnels and its visitors' connections end at once, on every node. Its uuid is never given again.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status412PreconditionFailed);
        api.MapGet("/devices/{uuid}/status", StatusAsync).WithName("GetDeviceStatus").WithTags(Tag).WithSummary("See what a device is doing")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
    }

    private static async Task<Ok<DeviceList>> ListAsync(
        DeviceDocuments documents,
        DeviceStore store,
        [Description("Where the page before ended: its \"next\".")] string? cursor,
        [Description("1 to 1000; 50 if left out.")] string? limit,
        [Description("A part of the name, in any case.")] string? name,
        [Description("The first digits of the uuid.")] string? uuid,
        [Description("\"name\" or \"name=value\"; may be given more than once, then all are asked for.")] string[]? tag,
        [Description("true or false: has a tunnel now.")] string? online,
        [Description("true or false: the public URL is on.")] string? enabled,
        [Description("uuid or name; uuid if left out.")] string? sort)
    {
        var (devices, total, next) = await documents.ListAsync(new CatalogueQuery
        {
            Limit = Input.Limit(limit),
            After = await AfterAsync(store, cursor),
            ByName = Input.ByName(sort),
            UuidPrefix = Input.UuidPrefix(uuid),
            Name = string.IsNullOrEmpty(name) ? null : name,
            Tags = [.. (tag ?? []).Select(Input.Tag)],
            Online = Input.Flag("online", online),
            Enabled = Input.Flag("enabled", enabled),
        });
        return TypedResults.Ok(new DeviceList(devices, total, next?.ToString()));
    }

    /// <summary>The device that a cursor names; one that was deleted since still has its place among the uuids.</summary>
    public static async Task<DeviceSummary?> AfterAsync(DeviceStore store, string? cursor)
    {
        if (string.IsNullOrEmpty(cursor))
        {
            return null;
        }

        var uuid = Input.Uuid(cursor);
        return await store.FindAsync(uuid) is { } device ? DeviceSummary.Of(device) : new DeviceSummary(uuid, null, false, DeviceRecord.NoTags);
    }

    private static async Task<Created<CreatedDevice>> CreateAsync(HttpContext context, DeviceOperations operations, DeviceDocuments documents, DeviceCreation body)
    {
        var (device, key) = await operations.CreateAsync(
            Actor.Of(context), body.Uuid is null ? null : Input.Uuid(body.Uuid), Input.Name(body.Name), Input.Tags(body.Tags), body.PublicUrl, body.SelfService, body.Key ?? true);
        EntityTags.Write(context, device);
        return TypedResults.Created($"/api/v1/devices/{device.Uuid}", new CreatedDevice(await documents.ShowAsync(device), key));
    }

    private static async Task<Results<Ok<DeviceDocument>, StatusCodeHttpResult>> GetAsync(HttpContext context, DeviceDocuments documents, string uuid)
    {
        var device = await documents.FindAsync(Input.Uuid(uuid));
        EntityTags.Write(context, device);
        return EntityTags.IsCurrent(context, device) ? TypedResults.StatusCode(StatusCodes.Status304NotModified) : TypedResults.Ok(await documents.ShowAsync(device));
    }

    private static async Task<Results<Ok<DeviceDocument>, Created<DeviceDocument>>> PutAsync(
        HttpContext context, DeviceOperations operations, DeviceDocuments documents, DeviceStore store, string uuid, DeviceState body)
    {
        var (id, name, tags, actor, check) = (Input.Uuid(uuid), Input.Name(body.Name), Input.Tags(body.Tags), Actor.Of(context), EntityTags.Precondition(context));
        if (await store.FindAsync(id) is { } existing)
        {
            if (EntityTags.OnlyCreate(context))
            {
                throw ApiProblem.Changed.Exception($"The device {existing.Uuid} exists already, and If-None-Match: * asks to create it.");
            }

            var (device, _) = await operations.UpdateAsync(actor, id, record =>
            {
                check(record);
                return record with { Name = name, Tags = tags, PublicUrl = body.PublicUrl, SelfService = body.SelfService };
            });
            EntityTags.Write(context, device);
            return TypedResults.Ok(await documents.ShowAsync(device));
        }

        if (context.Request.GetTypedHeaders().IfMatch.Count > 0)
        {
            throw ApiProblem.Changed.Exception($"There is no device {id} any more.");
        }

        var (created, _) = await operations.CreateAsync(actor, id, name, tags, body.PublicUrl, body.SelfService, withKey: false);
        EntityTags.Write(context, created);
        return TypedResults.Created($"/api/v1/devices/{id}", await documents.ShowAsync(created));
    }

    private static async Task<Ok<DeviceDocument>> PatchAsync(
        HttpContext context, DeviceOperations operations, DeviceDocuments documents, IOptions<JsonOptions> json, string uuid)
    {
        var id = Input.Uuid(uuid);
        var (values, given) = await ReadPatchAsync(context, json.Value.SerializerOptions);
        var check = EntityTags.Precondition(context);
        var (device, _) = await operations.UpdateAsync(Actor.Of(context), id, record =>
        {
            check(record);
            return record with
            {
                Name = Has("name") ? Input.Name(values.Name) : record.Name,
                PublicUrl = values.PublicUrl ?? record.PublicUrl,
                SelfService = values.SelfService ?? record.SelfService,
                Tags = !Has("tags") ? record.Tags
                    : values.Tags is null ? DeviceRecord.NoTags
                    : Input.Tags(record.Tags.RemoveRange(values.Tags.Keys).AddRange(values.Tags.Where(static tag => tag.Value is not null).Select(static tag => KeyValuePair.Create(tag.Key, tag.Value!)))),
            };
        });
        EntityTags.Write(context, device);
        return TypedResults.Ok(await documents.ShowAsync(device));

        bool Has(string name) => given.Contains(name);
    }

    // What is null and what is left out are different things here.
    private static async Task<(DevicePatch Values, HashSet<string> Given)> ReadPatchAsync(HttpContext context, JsonSerializerOptions json)
    {
        try
        {
            using var document = await JsonDocument.ParseAsync(context.Request.Body, cancellationToken: context.RequestAborted);
            return document.RootElement.ValueKind == JsonValueKind.Object
                ? (document.RootElement.Deserialize<DevicePatch>(json)!, document.RootElement.EnumerateObject().Select(static property => property.Name).ToHashSet(StringComparer.OrdinalIgnoreCase))
                : throw Input.Invalid("A patch is a JSON object, e.g. {\"name\":\"kitchen\"}.");
        }
        catch (JsonException exception)
        {
            throw Input.Invalid(Input.WhyUnreadable(exception));
        }
    }

    private static async Task<NoContent> DeleteAsync(HttpContext context, DeviceOperations operations, string uuid)
    {
        await operations.DeleteAsync(Actor.Of(context), Input.Uuid(uuid), EntityTags.Precondition(context));
        return TypedResults.NoContent();
    }

    private static async Task<Ok<DeviceStatus>> StatusAsync(DeviceDocuments documents, string uuid) =>
        TypedResults.Ok(await documents.StatusAsync(await documents.FindAsync(Input.Uuid(uuid))));
}
