using System.Collections.Immutable;
using System.Text.Json;
using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin.Api;

/// <summary>The switch, of one device and of many.</summary>
internal static class PublicUrlEndpoints
{
    private const string Tag = "Public URL";
    private const string NdJson = "application/x-ndjson";
    private const int MaxDevices = 100_000;

    public static void MapPublicUrls(this IEndpointRouteBuilder api)
    {
        api.MapGet("/devices/{uuid}/public-url", GetAsync).WithName("GetPublicUrl").WithTags(Tag).WithSummary("Is a device's public URL on?")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
        api.MapPut("/devices/{uuid}/public-url", PutAsync).Needs(Scope.Operate).WithName("SetPublicUrl").WithTags(Tag).WithSummary("Switch a device's public URL")
            .WithDescription("Seen by every node at once; when it is switched off, visitors' open connections end.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status412PreconditionFailed);
        api.MapPut("/public-url", PutManyAsync).Needs(Scope.Operate).WithName("SetPublicUrls").WithTags(Tag).WithSummary("Switch the public URL of many devices")
            .WithDescription($"Accept {NdJson} to be told of the progress: one line after each batch. A client that goes away ends it between two batches; asking again does the rest.")
            .Produces<BulkResult>(StatusCodes.Status200OK, "application/json", NdJson).ProducesProblem(StatusCodes.Status400BadRequest);
    }

    private static async Task<Ok<PublicUrlDocument>> GetAsync(DeviceDocuments documents, string uuid)
    {
        var device = await documents.FindAsync(Input.Uuid(uuid));
        return TypedResults.Ok(new PublicUrlDocument(device.PublicUrl, documents.UrlOf(device.Uuid)));
    }

    private static async Task<Ok<PublicUrlDocument>> PutAsync(HttpContext context, DeviceOperations operations, DeviceDocuments documents, string uuid, PublicUrlState body)
    {
        var enabled = Input.Need("enabled", body.Enabled);
        var check = EntityTags.Precondition(context);
        var (device, _) = await operations.UpdateAsync(Actor.Of(context), Input.Uuid(uuid), record =>
        {
            check(record);
            return record with { PublicUrl = enabled };
        });
        EntityTags.Write(context, device);
        return TypedResults.Ok(new PublicUrlDocument(device.PublicUrl, documents.UrlOf(device.Uuid)));
    }

    private static async Task PutManyAsync(HttpContext context, DeviceOperations operations, DeviceCatalogue catalogue, IOptions<JsonOptions> json, BulkPublicUrl body)
    {
        var enabled = Input.Need("enabled", body.Enabled);
        var (uuids, selection) = await SelectAsync(catalogue, body, context.RequestAborted);
        var streams = context.Request.GetTypedHeaders().Accept.Any(static accepted => accepted.MediaType.Equals(NdJson, StringComparison.OrdinalIgnoreCase));
        context.Response.ContentType = streams ? NdJson : "application/json";
        var last = new BulkProgress(0, uuids.Length, 0, []);
        await foreach (var progress in operations.SetPublicUrlsAsync(Actor.Of(context), uuids, enabled, selection, context.RequestAborted))
        {
            if (streams && progress.Done < progress.Total)
            {
                await WriteAsync(progress with { NotFound = [] });
            }

            last = progress;
        }

        await WriteAsync(last);

        async Task WriteAsync(BulkProgress progress)
        {
            var result = new BulkResult(progress.Done, progress.Total, progress.Changed, progress.NotFound);
            await context.Response.WriteAsync(JsonSerializer.Serialize(result, json.Value.SerializerOptions) + "\n", context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }
    }

    private static async Task<(ImmutableArray<DeviceUuid> Uuids, string Selection)> SelectAsync(DeviceCatalogue catalogue, BulkPublicUrl body, CancellationToken cancellationToken)
    {
        if ((body.Devices is null ? 0 : 1) + (body.Tag is null ? 0 : 1) + (body.All == true ? 1 : 0) != 1)
        {
            throw Input.Invalid("Give exactly one of devices, tag and all (true).");
        }

        if (body.Devices is { } devices)
        {
            return devices.Count > MaxDevices
                ? throw Input.Invalid($"These are {devices.Count} devices: give at most {MaxDevices} at once.")
                : ([.. devices.Select(Input.Uuid).Distinct()], "devices");
        }

        // A selection from half a list would leave devices out without a word.
        await catalogue.Loaded.WaitAsync(cancellationToken);
        return body.Tag is { } tag
            ? (catalogue.Select(Input.Tag(tag).Matches), $"tag {tag}")
            : (catalogue.Select(static _ => true), "all");
    }
}
