using System.Security.Claims;
using Gateway.Admin.Tokens;

namespace Gateway.Admin.Audit;

/// <summary>Who does something: an operator by a token, or a device for itself.</summary>
/// <param name="Id">The token's id, or the device's uuid.</param>
/// <param name="Name">The token's name.</param>
/// <param name="From">The address.</param>
public sealed record Actor(string Id, string Name, string From)
{
    public static Actor Of(HttpContext context) => new(
        context.User.FindFirstValue(AdminClaims.Id) ?? "", context.User.FindFirstValue(ClaimTypes.Name) ?? "", AddressOf(context));

    /// <summary>The address that a request came from; <c>local</c> over a Unix socket.</summary>
    public static string AddressOf(HttpContext context) => context.Connection.RemoteIpAddress is { } address
        ? (address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address).ToString() : "local";
}
