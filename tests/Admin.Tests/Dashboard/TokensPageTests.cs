using System.Net;
using Gateway.Admin.Tokens;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Dashboard;

/// <summary>Operators' tokens and devices' domains, managed on pages.</summary>
public sealed class TokensPageTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    [Fact]
    public async Task A_token_is_created_shown_once_used_and_revoked()
    {
        using var admin = await Operator.WithAsync(Gateway, Scope.Admin, "the boss");
        using var session = await Session.WithAsync(Gateway.AdminPort, admin.Token);
        var name = $"night shift {Guid.NewGuid():N}";

        var created = await session.PostAsync("/tokens", "/tokens", ("name", name), ("scope", "operate"), ("days", "90"));

        Assert.Equal(HttpStatusCode.OK, created.Status);
        var text = created.Body.Split("id=\"token-text\">")[1].Split('<')[0];
        Assert.StartsWith("dgt_", text, StringComparison.Ordinal);
        var page = (await session.GetAsync("/tokens")).Body;
        Assert.Contains(name, page, StringComparison.Ordinal);
        Assert.Contains("in 90 days", page, StringComparison.Ordinal);
        Assert.DoesNotContain(text, page, StringComparison.Ordinal);
        using var someone = Operator.WithToken(Gateway, text);
        var who = (await someone.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.OK);
        Assert.Equal((name, "operate"), ((string)who["name"]!, (string)who["scope"]!));

        var revoked = await session.PostAsync($"/tokens/{who["id"]}/revoke", "/tokens");
        Assert.Equal((HttpStatusCode.Redirect, "/tokens?done=token-revoked"), (revoked.Status, revoked.Location));
        (await someone.GetAsync("/api/v1/whoami")).MustBe(HttpStatusCode.Unauthorized, "unauthenticated");
        Assert.Equal(HttpStatusCode.NotFound, (await session.PostAsync($"/tokens/{who["id"]}/revoke", "/tokens")).Status);
        Assert.Equal(["token.revoke", "token.create"], (await admin.AuditAsync($"actor={admin.TokenId}")).Select(static entry => (string)entry!["action"]!));
    }

    [Fact]
    public async Task Who_revokes_the_own_token_is_signed_out()
    {
        using var admin = await Operator.WithAsync(Gateway, Scope.Admin, "leaving");
        using var session = await Session.WithAsync(Gateway.AdminPort, admin.Token);
        Assert.Contains("you will be signed out", (await session.GetAsync("/tokens")).Body, StringComparison.Ordinal);

        await session.PostAsync($"/tokens/{admin.TokenId}/revoke", "/tokens");

        Assert.StartsWith("/signin", new Uri(new Uri("http://localhost"), (await session.GetAsync("/tokens")).Location).PathAndQuery, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(Scope.Read)]
    [InlineData(Scope.Operate)]
    public async Task Who_may_not_manage_tokens_does_not_see_the_page_named(Scope scope)
    {
        using var someone = await Operator.WithAsync(Gateway, scope);
        using var session = await Session.WithAsync(Gateway.AdminPort, someone.Token);

        Assert.DoesNotContain("href=\"/tokens\"", (await session.GetAsync("/")).Body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_configurations_token_cannot_be_revoked_here()
    {
        const string text = "0123456789012345678901234567890123456789";
        await using var gateway = await TestGateway.StartAsync(new() { ["Admin:InitialToken"] = text });
        using var session = await Session.WithAsync(gateway.AdminPort, text);

        var row = (await session.GetAsync("/tokens")).Body.Split("<tr data-token=").Single(static row => row.Contains("in the configuration", StringComparison.Ordinal)).Split("</tr>")[0];

        Assert.DoesNotContain("revoke", row, StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("", "read", "30", "The name is missing")]
    [InlineData("x", "root", "30", "scope is")]
    [InlineData("x", "read", "-1", "days is")]
    public async Task What_is_wrong_with_a_new_token_is_named(string name, string scope, string days, string named)
    {
        using var admin = await Operator.WithAsync(Gateway, Scope.Admin);
        using var session = await Session.WithAsync(Gateway.AdminPort, admin.Token);

        var answer = await session.PostAsync("/tokens", "/tokens", ("name", name), ("scope", scope), ("days", days));

        Assert.Equal(HttpStatusCode.BadRequest, answer.Status);
        Assert.Contains(named, answer.Body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_is_given_a_domain_and_loses_it_again()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        using var session = await Session.WithAsync(Gateway.AdminPort, someone.Token);
        var device = await someone.AddDeviceAsync();
        var (page, domain) = ($"/devices/{device.Uuid}/actions", $"k{Guid.NewGuid():N}.example.com");

        Assert.Equal($"{page}?done=domain-added", (await session.PostAsync($"/devices/{device.Uuid}/domains/add", page, ("domain", domain.ToUpperInvariant()))).Location);
        Assert.Contains($">{domain}<", (await session.GetAsync(page)).Body, StringComparison.Ordinal);
        Assert.Equal($"{page}?done=domain-removed", (await session.PostAsync($"/devices/{device.Uuid}/domains/remove", page, ("domain", domain))).Location);
        Assert.DoesNotContain($">{domain}<", (await session.GetAsync(page)).Body, StringComparison.Ordinal);

        var wrong = await session.PostAsync($"/devices/{device.Uuid}/domains/add", page, ("domain", "*.example.com"));
        Assert.Equal(HttpStatusCode.BadRequest, wrong.Status);
        Assert.Contains("without a wildcard", wrong.Body, StringComparison.Ordinal);
    }
}
