using Gateway.Admin.Tokens;

namespace Gateway.Admin.Api;

/// <summary>The API: <c>/api/v1</c> on the admin listener, for programs and the command line.</summary>
internal static class ApiRoom
{
    public const string Document = "v1";

    public static void MapApi(this IEndpointRouteBuilder endpoints)
    {
        var api = endpoints.MapGroup("/api/v1").RequireAuthorization(Policy(Scope.Read)).WithMetadata(new ScopeNeeded(Scope.Read)).WithGroupName(Document)
            .ProducesProblem(StatusCodes.Status401Unauthorized).ProducesProblem(StatusCodes.Status403Forbidden)
            .ProducesProblem(StatusCodes.Status429TooManyRequests).ProducesProblem(StatusCodes.Status503ServiceUnavailable);
        api.MapDevices();
        api.MapKeys();
        api.MapPublicUrls();
        api.MapDomains();
        api.MapTokens();
        api.MapGeneral();
        endpoints.MapOpenApi("/openapi/{documentName}.json");
    }

    /// <summary>The authorization policy that asks for a token of at least this scope.</summary>
    public static string Policy(Scope scope) => $"token:{scope.Name()}";

    /// <summary>Asks for a token of at least this scope.</summary>
    public static RouteHandlerBuilder Needs(this RouteHandlerBuilder endpoint, Scope scope) =>
        endpoint.RequireAuthorization(Policy(scope)).WithMetadata(new ScopeNeeded(scope));
}
