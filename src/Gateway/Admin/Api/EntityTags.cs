using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Gateway.Devices;
using Microsoft.Net.Http.Headers;

namespace Gateway.Admin.Api;

/// <summary>A device's ETag (RFC 9110 section 8.8.3) is made of what it is and not of a counter: what others write straight into Redis changes it too.</summary>
internal static class EntityTags
{
    public static EntityTagHeaderValue Of(DeviceRecord device)
    {
        var content = JsonSerializer.Serialize(new { Uuid = device.Uuid.ToString(), device.Name, device.Tags, device.PublicUrl, device.SelfService });
        return new EntityTagHeaderValue($"\"{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(content)).AsSpan(0, 8))}\"");
    }

    public static void Write(HttpContext context, DeviceRecord device) => context.Response.GetTypedHeaders().ETag = Of(device);

    /// <summary>Whether the client has this version already (If-None-Match, RFC 9110 section 13.1.2).</summary>
    public static bool IsCurrent(HttpContext context, DeviceRecord device) =>
        context.Request.GetTypedHeaders().IfNoneMatch.Any(tag => tag.Equals(EntityTagHeaderValue.Any) || tag.Compare(Of(device), useStrongComparison: false));

    /// <summary>Checks If-Match (RFC 9110 section 13.1.1); without it every version will do.</summary>
    /// <exception cref="ApiException">The device is not what the client believes.</exception>
    public static Action<DeviceRecord> Precondition(HttpContext context)
    {
        var expected = context.Request.GetTypedHeaders().IfMatch;
        return device =>
        {
            if (expected.Count > 0 && !expected.Any(tag => tag.Equals(EntityTagHeaderValue.Any) || tag.Compare(Of(device), useStrongComparison: true)))
            {
                throw ApiProblem.Changed.Exception();
            }
        };
    }

    /// <summary>Whether the client asks to create, and only that (If-None-Match: *).</summary>
    public static bool OnlyCreate(HttpContext context) => context.Request.GetTypedHeaders().IfNoneMatch.Contains(EntityTagHeaderValue.Any);
}
