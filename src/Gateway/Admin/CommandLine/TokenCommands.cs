using System.CommandLine;
using Gateway.Admin.Api;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway token ...</c>: who may use API and dashboard.</summary>
internal static class TokenCommands
{
    public static Command Create(VerbFactory verbs) => new("token", "Operators' tokens: create, list, revoke.") { New(verbs), List(verbs), Revoke(verbs) };

    private static Command New(VerbFactory verbs)
    {
        var name = new Option<string>("--name") { HelpName = "text", Description = "Whose it is, or what for; stands in the audit", Required = true };
        var scope = new Option<string>("--scope") { HelpName = "read|operate|admin", Description = "read sees, operate also changes devices, admin also manages tokens", DefaultValueFactory = static _ => "operate" };
        scope.AcceptOnlyFromAmong("read", "operate", "admin");
        var expires = Values.Duration("--expires", "How long it is good (default: for ever)");
        return verbs.Create(
            "create",
            "Creates a token and prints it; it is shown this once.\n\nExample: gateway token create --name alice --scope admin --expires 90d",
            async invocation =>
            {
                var result = invocation.Result;
                var body = new TokenCreation { Name = result.GetValue(name), Scope = result.GetValue(scope), Expires = DateTimeOffset.UtcNow + result.GetValue(expires) };
                return invocation.Print<CreatedToken>(await invocation.Api.SendAsync(HttpMethod.Post, "api/v1/tokens", body, invocation.Cancellation), static created => Table.PrintFields(
                    ("token", created.Text), ("id", created.Token.Id), ("scope", created.Token.Scope), ("expires", created.Token.Expires is null ? "never" : Table.Time(created.Token.Expires))));
            },
            name, scope, expires);
    }

    private static Command List(VerbFactory verbs) => verbs.Create(
        "list",
        "Lists the tokens, expired ones too; never their text.\n\nExample: gateway token list",
        static async invocation => invocation.Print<TokenList>(await invocation.Api.SendAsync(HttpMethod.Get, "api/v1/tokens", null, invocation.Cancellation), static list => Table.Print(
            ["ID", "NAME", "SCOPE", "CREATED", "BY", "EXPIRES", "LAST USED"],
            list.Tokens.Select(static token => new[]
            {
                token.Id, token.Name, token.Scope, Table.Time(token.Created), token.CreatedBy ?? "-", token.Expires is null ? "never" : Table.Time(token.Expires), Table.Time(token.LastUsed),
            }))));

    private static Command Revoke(VerbFactory verbs)
    {
        var id = new Argument<string>("id") { Description = "The token's id, from \"gateway token list\"" };
        return verbs.Create(
            "revoke",
            "Revokes a token, and ends the sessions that were opened with it.\n\nExample: gateway token revoke 0f3a9c1d22b4e5f6",
            async invocation =>
            {
                var token = invocation.Result.GetValue(id)!;
                var answer = await invocation.Api.SendAsync(HttpMethod.Delete, $"api/v1/tokens/{Uri.EscapeDataString(token)}", null, invocation.Cancellation);
                return invocation.Print(answer, () => Console.WriteLine($"revoked: {token}"));
            },
            id);
    }
}
