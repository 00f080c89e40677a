using System.Globalization;
using System.Security.Claims;
using System.Text.Encodings.Web;
using Gateway.Admin.Api;
using Gateway.Admin.Audit;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.Tokens;

/// <summary><c>Authorization: Bearer &lt;token&gt;</c> (RFC 6750). Nothing is remembered: a revoked token ends with the request before.</summary>
internal sealed class TokenAuthentication(
    IOptionsMonitor<AuthenticationSchemeOptions> schemes, ILoggerFactory loggers, UrlEncoder encoder, TokenStore tokens, FailedLogins failures)
    : AuthenticationHandler<AuthenticationSchemeOptions>(schemes, loggers, encoder)
{
    public const string SchemeName = "Token";

    private bool _tooMany;

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        const string scheme = "Bearer ";
        var authorization = Request.Headers.Authorization.ToString();
        if (!authorization.StartsWith(scheme, StringComparison.OrdinalIgnoreCase))
        {
            return AuthenticateResult.NoResult();
        }

        if (await tokens.FindAsync(authorization[scheme.Length..].Trim()) is not { } token)
        {
            _tooMany = !failures.Count(Context.Connection.RemoteIpAddress);
            return AuthenticateResult.NoResult();
        }

        tokens.Touch(token);
        return AuthenticateResult.Success(new AuthenticationTicket(Principal(token, Scheme.Name), Scheme.Name));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        if (_tooMany)
        {
            Response.Headers.RetryAfter = 60.ToString(CultureInfo.InvariantCulture);
            return ApiProblem.TooManyFailures.WriteAsync(Context);
        }

        Response.Headers.WWWAuthenticate = "Bearer";
        return ApiProblem.Unauthenticated.WriteAsync(Context);
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) => ApiProblem.Forbidden.Because(
        $"The token \"{Actor.Of(Context).Name}\" has the scope {Context.User.FindFirstValue(AdminClaims.Scope)}; this needs {AdminClaims.NeededScope(Context)}.").WriteAsync(Context);

    /// <summary>Who a token says that its bearer is.</summary>
    public static ClaimsPrincipal Principal(OperatorToken token, string scheme) => new(new ClaimsIdentity(
        [new(AdminClaims.Hash, token.Hash), new(AdminClaims.Id, token.Id), new(ClaimTypes.Name, token.Name), new(AdminClaims.Scope, token.Scope.Name())], scheme));
}

/// <summary>What is known of an authenticated operator.</summary>
internal static class AdminClaims
{
    public const string Hash = "hash";
    public const string Id = "id";
    public const string Scope = "scope";

    /// <summary>The scope that the endpoint of a request asks for.</summary>
    public static string NeededScope(HttpContext context) =>
        context.GetEndpoint()?.Metadata.GetOrderedMetadata<ScopeNeeded>() is [.., var needed] ? needed.Scope.Name() : Tokens.Scope.Read.Name();
}

/// <summary>Metadata of an endpoint: the least scope that may call it.</summary>
internal sealed record ScopeNeeded(Scope Scope);
