using System.Security.Claims;
using Gateway.Admin.Tokens;
using Microsoft.AspNetCore.Antiforgery;

namespace Gateway.Admin.Dashboard;

/// <summary>What every page knows of its request.</summary>
/// <param name="Operator">The name of the token that signed in; null for nobody.</param>
/// <param name="FormToken">Goes into every form, and tells that the form is ours.</param>
/// <param name="Notice">What was just done; null for nothing.</param>
public sealed record PageContext(string? Operator, Scope Scope, string FormField, string FormToken, DateTimeOffset Now, string? Notice)
{
    public bool MayOperate => Operator is not null && Scope >= Scope.Operate;

    public bool MayAdminister => Operator is not null && Scope >= Scope.Admin;

    public static PageContext Of(HttpContext context)
    {
        var tokens = context.RequestServices.GetRequiredService<IAntiforgery>().GetAndStoreTokens(context);
        var scope = Scopes.TryParse(context.User.FindFirstValue(AdminClaims.Scope), out var has) ? has.Value : Scope.Read;
        return new PageContext(
            context.User.FindFirstValue(ClaimTypes.Name), scope, tokens.FormFieldName, tokens.RequestToken!,
            context.RequestServices.GetRequiredService<TimeProvider>().GetUtcNow(), Notices.GetValueOrDefault(context.Request.Query["done"].ToString()));
    }

    // Only what stands here is ever shown, whatever the address says.
    private static readonly Dictionary<string, string> Notices = new(StringComparer.Ordinal)
    {
        ["enabled"] = "The public URL is on. Visitors reach the device from now on.",
        ["disabled"] = "The public URL is off. Visitors' open connections were ended.",
        ["saved"] = "Saved.",
        ["revoked"] = "Revoked. What it had opened was ended.",
        ["domain-added"] = "The domain was added. It works once its DNS leads here.",
        ["domain-removed"] = "The domain was removed. It leads nowhere any more.",
        ["token-revoked"] = "The token was revoked. It opens nothing any more.",
        ["deleted"] = "The device was deleted.",
    };
}
