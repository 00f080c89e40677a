using System.Security.Claims;
using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Storage;
using Microsoft.AspNetCore.Antiforgery;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.Cookies;
using Microsoft.AspNetCore.Components;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.OpenApi;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin.Dashboard;

/// <summary>The dashboard: pages made here, with little script; a session is opened with an operator's token and ends with it.</summary>
internal static class DashboardRoom
{
    private const string Scheme = "Session";
    private const int PageSize = 50;
    private const int MaxLive = 200;

    private const string ContentSecurityPolicy =
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

    public static void AddDashboard(this IServiceCollection services, AuthenticationBuilder authentication)
    {
        authentication.AddCookie(Scheme);
        services.AddOptions<CookieAuthenticationOptions>(Scheme).Configure<IOptions<AdminOptions>>(static (cookie, admin) =>
        {
            cookie.Cookie.Name = "gateway_session";
            cookie.Cookie.HttpOnly = true;
            cookie.Cookie.SameSite = SameSiteMode.Strict;
            cookie.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
            cookie.ExpireTimeSpan = admin.Value.SessionTimeout;
            cookie.SlidingExpiration = true;
            cookie.LoginPath = "/signin";
            cookie.ReturnUrlParameter = "returnUrl";
            cookie.Events.OnValidatePrincipal = ValidateAsync;
            cookie.Events.OnRedirectToAccessDenied = static denied =>
                throw ApiProblem.Forbidden.Exception($"Your token's scope does not allow this; it needs {AdminClaims.NeededScope(denied.HttpContext)}.");
        });
        services.AddAuthorization(static authorization =>
        {
            foreach (var scope in Enum.GetValues<Scope>())
            {
                authorization.AddPolicy(Policy(scope), policy => policy.AddAuthenticationSchemes(Scheme).RequireAuthenticatedUser()
                    .RequireAssertion(context => Scopes.TryParse(context.User.FindFirst(AdminClaims.Scope)?.Value, out var has) && has >= scope));
            }
        });
        services.AddAntiforgery(static antiforgery =>
        {
            antiforgery.Cookie.Name = "gateway_forms";
            antiforgery.Cookie.HttpOnly = true;
            antiforgery.Cookie.SameSite = SameSiteMode.Strict;
            antiforgery.Cookie.SecurePolicy = CookieSecurePolicy.SameAsRequest;
        });

        // Every node opens what another has sealed.
        services.AddDataProtection().SetApplicationName("device-gateway");
        services.AddOptions<Microsoft.AspNetCore.DataProtection.KeyManagement.KeyManagementOptions>().Configure<RedisConnection>(static (keys, redis) =>
            keys.XmlRepository = new Microsoft.AspNetCore.DataProtection.StackExchangeRedis.RedisXmlRepository(() => redis.Database, "dataprotection"));
        services.AddRazorComponents();

        // It would read the keys when the gateway starts, before Redis has been reached; they are read when they are needed.
        services.Remove(services.First(static service => service.ServiceType == typeof(IHostedService) && service.ImplementationType?.Name == "DataProtectionHostedService"));
    }

    public static void MapDashboard(this IEndpointRouteBuilder endpoints)
    {
        var open = endpoints.MapGroup("").ExcludeFromDescription().AddEndpointFilter(HardenAsync).WithMetadata(new DashboardEndpoint());
        open.MapGet("/assets/{name}", DashboardAssets.Answer);
        open.MapGet("/signin", static (HttpContext context, string? returnUrl) => SignInPageFor(context, null, returnUrl));
        open.MapPost("/signin", SignInAsync);
        open.MapPost("/signout", SignOutAsync);

        var read = open.MapGroup("").RequireAuthorization(Policy(Scope.Read)).WithMetadata(new ScopeNeeded(Scope.Read));
        read.MapGet("/", FleetAsync);
        read.MapGet("/live", LiveAsync);
        read.MapGet("/devices/{uuid}", static (HttpContext context, string uuid) => DeviceAsync(context, uuid, "summary", null));
        read.MapGet("/devices/{uuid}/{tab}", static (HttpContext context, string uuid, string tab) => DeviceAsync(context, uuid, tab, null));
        read.MapGet("/audit", AuditAsync);
        read.MapGet("/reference", ReferenceAsync);

        var operate = open.MapGroup("").RequireAuthorization(Policy(Scope.Operate)).WithMetadata(new ScopeNeeded(Scope.Operate));
        operate.MapGet("/devices/new", static (HttpContext context, IOptions<DeviceOptions> devices) => Page<NewDevicePage>(context, new() { ["PublicUrl"] = devices.Value.PublicUrlByDefault }));
        operate.MapPost("/devices/new", AddAsync);
        operate.MapPost("/devices/{uuid}/public-url", SwitchAsync);
        operate.MapPost("/devices/{uuid}/edit", EditAsync);
        operate.MapPost("/devices/{uuid}/delete", DeleteAsync);
        operate.MapPost("/devices/{uuid}/keys/issue", IssueAsync);
        operate.MapPost("/devices/{uuid}/keys/rotate", RotateAsync);
        operate.MapPost("/devices/{uuid}/keys/revoke", RevokeAsync);
        operate.MapPost("/devices/{uuid}/domains/add", AddDomainAsync);
        operate.MapPost("/devices/{uuid}/domains/remove", RemoveDomainAsync);

        var admin = open.MapGroup("").RequireAuthorization(Policy(Scope.Admin)).WithMetadata(new ScopeNeeded(Scope.Admin));
        admin.MapGet("/tokens", static (HttpContext context, TokenStore tokens) => TokensAsync(context, tokens, null));
        admin.MapPost("/tokens", CreateTokenAsync);
        admin.MapPost("/tokens/{id}/revoke", RevokeTokenAsync);
    }

    /// <summary>The page that says what went wrong, to a person.</summary>
    public static Task WriteErrorAsync(HttpContext context, ApiProblem problem)
    {
        WriteHeaders(context);
        context.Response.StatusCode = problem.Status;
        return Page<ErrorPage>(context, new() { ["Problem"] = problem }).ExecuteAsync(context);
    }

    private static string Policy(Scope scope) => $"session:{scope.Name()}";

    private static ValueTask<object?> HardenAsync(EndpointFilterInvocationContext invocation, EndpointFilterDelegate next)
    {
        WriteHeaders(invocation.HttpContext);
        return next(invocation);
    }

    private static void WriteHeaders(HttpContext context)
    {
        var headers = context.Response.Headers;
        headers.ContentSecurityPolicy = ContentSecurityPolicy;
        headers.XContentTypeOptions = "nosniff";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers.CacheControl = "no-cache, no-store";   // as the forms' protection wants it: it would warn of anything else
    }

    private static RazorComponentResult<TPage> Page<TPage>(HttpContext context, Dictionary<string, object?> parameters)
        where TPage : IComponent
    {
        parameters["Page"] = PageContext.Of(context);
        return new RazorComponentResult<TPage>(parameters) { PreventStreamingRendering = true };
    }

    // A session lives no longer than its token, and has the scope that the token has now.
    private static async Task ValidateAsync(CookieValidatePrincipalContext context)
    {
        var tokens = context.HttpContext.RequestServices.GetRequiredService<TokenStore>();
        if (context.Principal?.FindFirstValue(AdminClaims.Hash) is { } hash && await tokens.FindByHashAsync(hash) is { } token)
        {
            tokens.Touch(token);
            return;
        }

        context.RejectPrincipal();
        await context.HttpContext.SignOutAsync(Scheme);
    }

    private static RazorComponentResult<SignInPage> SignInPageFor(HttpContext context, string? error, string? returnUrl) =>
        Page<SignInPage>(context, new() { ["Error"] = error, ["ReturnUrl"] = returnUrl });

    private static async Task<IResult> SignInAsync(HttpContext context, TokenStore tokens, FailedLogins failures, [FromForm] string? token, [FromForm] string? returnUrl)
    {
        if (await tokens.FindAsync(token?.Trim() ?? "") is not { } known)
        {
            var stopped = !failures.Count(context.Connection.RemoteIpAddress);
            context.Response.StatusCode = stopped ? StatusCodes.Status429TooManyRequests : StatusCodes.Status401Unauthorized;
            return SignInPageFor(context, stopped ? ApiProblem.TooManyFailures.Title + ": wait a minute." : "The token is unknown, revoked or expired.", returnUrl);
        }

        tokens.Touch(known);
        await context.SignInAsync(Scheme, TokenAuthentication.Principal(known, Scheme));
        return TypedResults.LocalRedirect(IsLocal(returnUrl) ? returnUrl! : "/");
    }

    // "//example.com" and "/\example.com" are other sites to a browser.
    private static bool IsLocal(string? url) => url is ['/', ..] and not ['/', '/' or '\\', ..];

    private static async Task<IResult> SignOutAsync(HttpContext context, IAntiforgery antiforgery)
    {
        await antiforgery.ValidateRequestAsync(context);
        await context.SignOutAsync(Scheme);
        return TypedResults.LocalRedirect("/signin");
    }

    private static async Task<IResult> FleetAsync(
        HttpContext context, DeviceDocuments documents, DeviceCatalogue catalogue, DeviceStore store, string? q, string? online, string? enabled, string? cursor)
    {
        var query = new FleetQuery(q, online, enabled, cursor);
        var (devices, total, next) = await documents.ListAsync(new CatalogueQuery
        {
            Limit = PageSize,
            ByName = true,
            After = await DeviceEndpoints.AfterAsync(store, cursor),
            Text = string.IsNullOrWhiteSpace(q) ? null : q.Trim(),
            Online = Input.Flag("online", string.IsNullOrEmpty(online) ? null : online),
            Enabled = Input.Flag("enabled", string.IsNullOrEmpty(enabled) ? null : enabled),
        });
        var tags = catalogue.Tags().OrderByDescending(static tag => tag.Value).Take(PageSize).Select(static tag => tag.Key).ToList();
        return Page<FleetPage>(context, new() { ["Query"] = query, ["Devices"] = devices, ["Total"] = total, ["Next"] = next?.ToString(), ["Tags"] = tags });
    }

    // What the script asks every few seconds, of the devices that it shows.
    private static async Task<IResult> LiveAsync(Presence presence, string[] uuid)
    {
        var uuids = uuid.Take(MaxLive).Select(Input.Uuid).ToList();
        var online = await presence.AreOnlineAsync(uuids);
        return TypedResults.Ok(uuids.Zip(online).ToDictionary(static device => device.First.ToString(), static device => device.Second, StringComparer.Ordinal));
    }

    private static async Task<IResult> DeviceAsync(HttpContext context, string uuid, string tab, IssuedKey? issued)
    {
        if (!DevicePage.HasTab(tab))
        {
            throw ApiProblem.NoSuchPage.Exception("The device has no such page.");
        }

        var services = context.RequestServices;
        var documents = services.GetRequiredService<DeviceDocuments>();
        var device = await documents.FindAsync(Input.Uuid(uuid));
        var audit = tab == "audit" ? await services.GetRequiredService<AuditLog>().ListAsync(entry => entry.Subject == device.Uuid.ToString(), PageSize, null) : [];
        return Page<DevicePage>(context, new()
        {
            ["Device"] = await documents.ShowAsync(device), ["Status"] = await documents.StatusAsync(device), ["Tab"] = tab, ["Issued"] = issued, ["Audit"] = audit,
            ["Domains"] = tab == "actions" ? await services.GetRequiredService<DomainStore>().ListAsync(device.Uuid) : [],
            ["DomainTarget"] = services.GetRequiredService<DomainOperations>().TargetOf(device.Uuid),
            ["Keys"] = device.Keys.OrderBy(static key => key.Created).Select(KeyDocument.Of).ToList(),
        });
    }

    private static async Task<IResult> AuditAsync(HttpContext context, AuditLog audit, string? cursor)
    {
        var entries = await audit.ListAsync(static _ => true, PageSize + 1, string.IsNullOrEmpty(cursor) ? null : cursor);
        return Page<AuditPage>(context, new() { ["Entries"] = entries.Take(PageSize).ToList(), ["Next"] = entries.Count > PageSize ? entries[PageSize - 1].Id : null });
    }

    private static async Task<IResult> ReferenceAsync(HttpContext context, [FromKeyedServices(ApiRoom.Document)] IOpenApiDocumentProvider provider) =>
        Page<ReferencePage>(context, new() { ["Document"] = await provider.GetOpenApiDocumentAsync(context.RequestAborted) });

    private static async Task<IResult> AddAsync(
        HttpContext context, DeviceOperations operations, DeviceDocuments documents, [FromForm] string? name, [FromForm] string? tags, [FromForm] string? uuid, [FromForm] bool? publicUrl)
    {
        var (device, key) = await operations.CreateAsync(
            Actor.Of(context), string.IsNullOrWhiteSpace(uuid) ? null : Input.Uuid(uuid.Trim()), Input.Name(name), ReadTags(tags), publicUrl ?? false, null, withKey: true);
        return Page<NewDevicePage>(context, new() { ["Created"] = new CreatedDevice(await documents.ShowAsync(device), key) });
    }

    private static async Task<IResult> SwitchAsync(HttpContext context, DeviceOperations operations, string uuid, [FromForm] bool? enabled)
    {
        await operations.UpdateAsync(Actor.Of(context), Input.Uuid(uuid), record => record with { PublicUrl = enabled ?? false });
        return TypedResults.LocalRedirect($"/devices/{Input.Uuid(uuid)}/actions?done={(enabled == true ? "enabled" : "disabled")}");
    }

    private static async Task<IResult> EditAsync(
        HttpContext context, DeviceOperations operations, string uuid, [FromForm] string? name, [FromForm] string? tags, [FromForm] bool? selfService)
    {
        var (newName, newTags) = (Input.Name(name), ReadTags(tags));
        await operations.UpdateAsync(Actor.Of(context), Input.Uuid(uuid), record => record with { Name = newName, Tags = newTags, SelfService = selfService ?? false });
        return TypedResults.LocalRedirect($"/devices/{Input.Uuid(uuid)}/actions?done=saved");
    }

    private static async Task<IResult> DeleteAsync(HttpContext context, DeviceOperations operations, string uuid, [FromForm] bool? sure)
    {
        if (sure != true)
        {
            throw Input.Invalid("Say that you are sure.");
        }

        await operations.DeleteAsync(Actor.Of(context), Input.Uuid(uuid), static _ => { });
        return TypedResults.LocalRedirect("/?done=deleted");
    }

    private static async Task<IResult> IssueAsync(HttpContext context, DeviceOperations operations, IAntiforgery antiforgery, string uuid)
    {
        await antiforgery.ValidateRequestAsync(context);
        var (key, text) = await operations.IssueKeyAsync(Actor.Of(context), Input.Uuid(uuid), null, null);
        return await DeviceAsync(context, uuid, "keys", new IssuedKey(KeyDocument.Of(key), text));
    }

    private static async Task<IResult> RotateAsync(HttpContext context, DeviceOperations operations, IAntiforgery antiforgery, string uuid)
    {
        await antiforgery.ValidateRequestAsync(context);
        var (key, text) = await operations.RotateKeysAsync(Actor.Of(context), Input.Uuid(uuid), null, TimeSpan.FromDays(1));
        return await DeviceAsync(context, uuid, "keys", new IssuedKey(KeyDocument.Of(key), text));
    }

    private static async Task<IResult> RevokeAsync(HttpContext context, DeviceOperations operations, string uuid, [FromForm] string fingerprint)
    {
        await operations.RevokeKeyAsync(Actor.Of(context), Input.Uuid(uuid), fingerprint);
        return TypedResults.LocalRedirect($"/devices/{Input.Uuid(uuid)}/keys?done=revoked");
    }

    private static async Task<IResult> AddDomainAsync(HttpContext context, DomainOperations operations, string uuid, [FromForm] string? domain)
    {
        await operations.AddAsync(Actor.Of(context), Input.Uuid(uuid), Input.Domain(domain));
        return TypedResults.LocalRedirect($"/devices/{Input.Uuid(uuid)}/actions?done=domain-added");
    }

    private static async Task<IResult> RemoveDomainAsync(HttpContext context, DomainOperations operations, string uuid, [FromForm] string? domain)
    {
        await operations.RemoveAsync(Actor.Of(context), Input.Uuid(uuid), Input.Domain(domain));
        return TypedResults.LocalRedirect($"/devices/{Input.Uuid(uuid)}/actions?done=domain-removed");
    }

    private static async Task<IResult> TokensAsync(HttpContext context, TokenStore tokens, CreatedToken? created)
    {
        var all = await tokens.ListAsync();
        return Page<TokensPage>(context, new()
        {
            ["Tokens"] = all.Select(TokenDocument.Of).ToList(), ["Created"] = created, ["Own"] = Actor.Of(context).Id, ["Configured"] = all.FirstOrDefault(tokens.IsConfigured)?.Id,
        });
    }

    private static async Task<IResult> CreateTokenAsync(
        HttpContext context, TokenOperations operations, TokenStore tokens, TimeProvider time, [FromForm] string? name, [FromForm] string? scope, [FromForm] string? days)
    {
        var (token, text) = await operations.CreateAsync(
            Actor.Of(context), Input.Name(name) ?? throw Input.Invalid("The name is missing: say whose token it is, or what for."), Input.Scope(scope), Input.Days(days, time));
        return await TokensAsync(context, tokens, new CreatedToken(TokenDocument.Of(token), text));
    }

    private static async Task<IResult> RevokeTokenAsync(HttpContext context, TokenOperations operations, IAntiforgery antiforgery, string id)
    {
        await antiforgery.ValidateRequestAsync(context);
        await operations.RevokeAsync(Actor.Of(context), id);
        return TypedResults.LocalRedirect("/tokens?done=token-revoked");
    }

    private static System.Collections.Immutable.ImmutableSortedDictionary<string, string> ReadTags(string? text) => Input.Tags(
        (text ?? "").Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(static tag => tag.Split('=', 2, StringSplitOptions.TrimEntries))
        .Select(static parts => KeyValuePair.Create(parts[0], parts is [_, var value] ? value : "")));
}

/// <summary>Metadata of what people look at: what goes wrong there is told on a page.</summary>
internal sealed record DashboardEndpoint;
