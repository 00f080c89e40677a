using System.Net.Mime;
using System.Text.Json;
using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Http.Features;
using Tunnel.Protocol;

namespace Gateway.Admin;

/// <summary>
/// What a device may ask for itself, where it dials and with its own key: <c>GET</c> and, if its operator allows, <c>PUT</c>
/// <c>https://tunnel.&lt;base&gt;/v1/devices/&lt;uuid&gt;/public-url</c>.
/// </summary>
internal sealed class SelfService(
    DeviceDirectory devices, DeviceOperations operations, DeviceDocuments documents, FailureDelay failures)
{
    public const string Prefix = "/v1/devices/";
    public const string Suffix = "/public-url";

    private const int MaxBody = 1024;

    public async Task AnswerAsync(HttpContext context, string uuidText)
    {
        try
        {
            var known = DeviceUuid.TryParse(uuidText, null, out var uuid);
            using var key = await devices.AuthenticateAsync(known ? uuid : null, DeviceKeyHash.OfBearer(context.Request));
            if (key is null)
            {
                await failures.CountAsync(context.Connection.RemoteIpAddress, context.RequestAborted);
                context.Response.Headers.WWWAuthenticate = "Bearer";
                await (ApiProblem.Unauthenticated with { Detail = "The uuid and the key do not belong together.", Title = "The device's key is needed" }).WriteAsync(context);
                return;
            }

            if (HttpMethods.IsPut(context.Request.Method))
            {
                await SwitchAsync(context, uuid);
            }
            else if (HttpMethods.IsGet(context.Request.Method))
            {
                await WriteAsync(context, await documents.FindAsync(uuid));
            }
            else
            {
                context.Response.Headers.Allow = "GET, PUT";
                await ApiProblem.MethodNotAllowed.WriteAsync(context);
            }
        }
        catch (ApiException exception)
        {
            await exception.Problem.WriteAsync(context);
        }
        catch (BadHttpRequestException exception)
        {
            await (ApiProblem.Invalid with { Status = exception.StatusCode, Detail = exception.Message }).WriteAsync(context);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            await ApiProblem.StoreUnavailable.WriteAsync(context);
        }
    }

    private async Task SwitchAsync(HttpContext context, DeviceUuid uuid)
    {
        context.Features.Get<IHttpMaxRequestBodySizeFeature>()?.MaxRequestBodySize = MaxBody;
        PublicUrlState? wanted;
        try
        {
            wanted = await JsonSerializer.DeserializeAsync<PublicUrlState>(context.Request.Body, JsonSerializerOptions.Web, context.RequestAborted);
        }
        catch (JsonException)
        {
            wanted = null;
        }

        if (wanted?.Enabled is not { } enabled)
        {
            throw Input.Invalid("The body is not what is expected: send {\"enabled\":true} or {\"enabled\":false}.");
        }

        var actor = new Actor(uuid.ToString(), "the device itself", Actor.AddressOf(context));
        var (device, _) = await operations.UpdateAsync(actor, uuid, record => record.SelfService
            ? record with { PublicUrl = enabled }
            : throw ApiProblem.SelfServiceOff.Exception());
        await WriteAsync(context, device);
    }

    private async Task WriteAsync(HttpContext context, DeviceRecord device)
    {
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsJsonAsync(
            new SelfServiceState(device.PublicUrl, documents.UrlOf(device.Uuid), device.SelfService), options: null, contentType: MediaTypeNames.Application.Json);
    }

    /// <param name="SelfService">Whether the device may switch it.</param>
    private sealed record SelfServiceState(bool Enabled, string Url, bool SelfService);
}
