using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Gateway.Admin.Balena;
using Gateway.Admin.Dashboard;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Listeners;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace Gateway.Admin;

/// <summary>What operators use: the API, the dashboard, balena's surface. On the admin listeners, and nowhere else.</summary>
internal static class AdminRoom
{
    /// <param name="local">For the command line's own API, whatever the listeners.</param>
    public static void AddAdmin(this WebApplicationBuilder builder, bool local = false)
    {
        var services = builder.Services;
        services.AddOptions<AdminOptions>().BindConfiguration(AdminOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<AdminOptions>, AdminOptions.Validator>();
        services.AddSingleton<DeviceCatalogue>();
        if (local || builder.Configuration[$"{ListenerOptions.Section}:Admin"] is not "" || builder.Configuration[$"{ListenerOptions.Section}:AdminHttps"] is { Length: > 0 })
        {
            services.AddHostedService(static provider => provider.GetRequiredService<DeviceCatalogue>());
        }

        services.AddSingleton<AuditLog>();
        services.AddSingleton<TokenStore>();
        services.AddSingleton<FailedLogins>();
        services.AddSingleton<TokenOperations>();
        services.AddSingleton<DeviceOperations>();
        services.AddSingleton<DomainOperations>();
        services.AddSingleton<DeviceDocuments>();
        services.AddSingleton<BalenaDevices>();
        if (!local)
        {
            services.AddSingleton<SelfService>();
        }

        services.AddRouting();
        services.Configure<RouteHandlerOptions>(static routes => routes.ThrowOnBadRequest = true);
        services.ConfigureHttpJsonOptions(static json =>
        {
            json.SerializerOptions.DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull;
            json.SerializerOptions.UnmappedMemberHandling = System.Text.Json.Serialization.JsonUnmappedMemberHandling.Disallow;
        });
        var authentication = services.AddAuthentication();
        authentication.AddScheme<AuthenticationSchemeOptions, TokenAuthentication>(TokenAuthentication.SchemeName, null);
        services.AddAuthorization(static authorization =>
        {
            foreach (var scope in Enum.GetValues<Scope>())
            {
                authorization.AddPolicy(ApiRoom.Policy(scope), policy => policy
                    .AddAuthenticationSchemes(TokenAuthentication.SchemeName)
                    .RequireAuthenticatedUser()
                    .RequireAssertion(context => Scopes.TryParse(context.User.FindFirst(AdminClaims.Scope)?.Value, out var has) && has >= scope));
            }
        });
        services.AddApiDocument();
        services.AddDashboard(authentication);
    }

    /// <summary>The API, the dashboard and balena's surface.</summary>
    public static void MapAdmin(this IApplicationBuilder app)
    {
        app.UseMiddleware<ProblemMiddleware>();
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        app.UseAntiforgery();
        app.UseEndpoints(static endpoints =>
        {
            endpoints.MapApi();
            endpoints.MapBalena();
            endpoints.MapDashboard();
        });
        app.Run(ApiProblem.NoSuchPage.WriteAsync);
    }

    /// <summary>Devices ask for their public URL where they dial, with their own key.</summary>
    public static void MapSelfService(this WebApplication app)
    {
        var hosts = app.Services.GetRequiredService<HostNames>();
        var self = app.Services.GetRequiredService<SelfService>();
        app.Use(next => context =>
        {
            var path = context.Request.Path.Value.AsSpan();
            return path.EndsWith(SelfService.Suffix) && path.StartsWith(SelfService.Prefix) && path.Length > SelfService.Prefix.Length + SelfService.Suffix.Length
                && hosts.IsTunnel(context.Request.Host.Value)
                ? self.AnswerAsync(context, path[SelfService.Prefix.Length..^SelfService.Suffix.Length].ToString())
                : next(context);
        });
    }
}
