using Gateway.Admin.Api;
using Gateway.Admin.Audit;

namespace Gateway.Admin.Tokens;

/// <summary>Everything that changes operators' tokens, with its entry in the audit.</summary>
internal sealed class TokenOperations(TokenStore tokens, AuditLog audit)
{
    /// <returns>The token, and its text, which is in no other place.</returns>
    public async Task<(OperatorToken Token, string Text)> CreateAsync(Actor actor, string name, Scope scope, DateTimeOffset? expires)
    {
        var created = await tokens.CreateAsync(name, scope, expires, actor.Name);
        await audit.WriteAsync(actor, "token.create", created.Token.Id, null, new { name, scope = scope.Name(), expires });
        return created;
    }

    /// <exception cref="ApiException">There is no such token, or it is the configuration's.</exception>
    public async Task RevokeAsync(Actor actor, string id)
    {
        var token = (await tokens.ListAsync()).FirstOrDefault(token => token.Id.Equals(id, StringComparison.OrdinalIgnoreCase))
            ?? throw ApiProblem.UnknownToken.Exception($"There is no token {id}.");
        if (tokens.IsConfigured(token))
        {
            throw ApiProblem.Conflict.Exception($"This token stands in the configuration: remove {AdminOptions.Section}:InitialToken there.");
        }

        if (!await tokens.RevokeAsync(token))
        {
            throw ApiProblem.UnknownToken.Exception($"There is no token {id}.");
        }

        await audit.WriteAsync(actor, "token.revoke", token.Id, new { token.Name, scope = token.Scope.Name(), token.Expires }, null);
    }
}
