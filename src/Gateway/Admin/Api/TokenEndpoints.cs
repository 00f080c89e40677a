using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Gateway.Admin.Api;

/// <summary><c>/tokens</c>: who may use this API.</summary>
internal static class TokenEndpoints
{
    private const string Tag = "Tokens";

    public static void MapTokens(this IEndpointRouteBuilder api)
    {
        api.MapGet("/tokens", ListAsync).Needs(Scope.Admin).WithName("ListTokens").WithTags(Tag).WithSummary("List operators' tokens");
        api.MapPost("/tokens", CreateAsync).Needs(Scope.Admin).WithName("CreateToken").WithTags(Tag).WithSummary("Create a token")
            .WithDescription("read sees, operate also changes devices, admin also manages tokens. The answer has the token, this once.")
            .ProducesProblem(StatusCodes.Status400BadRequest);
        api.MapDelete("/tokens/{id}", RevokeAsync).Needs(Scope.Admin).WithName("RevokeToken").WithTags(Tag).WithSummary("Revoke a token")
            .WithDescription("It opens nothing from the next request on, and the sessions that were opened with it end.")
            .ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict);
    }

    private static async Task<Ok<TokenList>> ListAsync(TokenStore tokens) => TypedResults.Ok(new TokenList([.. (await tokens.ListAsync()).Select(TokenDocument.Of)]));

    private static async Task<Created<CreatedToken>> CreateAsync(HttpContext context, TokenOperations operations, TimeProvider time, TokenCreation body)
    {
        var name = Input.Name(body.Name) ?? throw Input.Invalid("name is missing: say whose token it is, or what for.");
        var (token, text) = await operations.CreateAsync(Actor.Of(context), name, Input.Scope(body.Scope), Input.Expires(body.Expires, time));
        return TypedResults.Created($"/api/v1/tokens/{token.Id}", new CreatedToken(TokenDocument.Of(token), text));
    }

    private static async Task<NoContent> RevokeAsync(HttpContext context, TokenOperations operations, string id)
    {
        await operations.RevokeAsync(Actor.Of(context), id);
        return TypedResults.NoContent();
    }
}
