using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Crossing;

public sealed class MethodTests(SharedGateway shared)
{
    [Theory]
    [InlineData("GET", "1.1")]
    [InlineData("HEAD", "1.1")]
    [InlineData("POST", "1.1")]
    [InlineData("PUT", "1.1")]
    [InlineData("PATCH", "1.1")]
    [InlineData("DELETE", "1.1")]
    [InlineData("OPTIONS", "1.1")]
    [InlineData("PROPFIND", "1.1")]
    [InlineData("BREW", "1.1")]
    [InlineData("GET", "2.0")]
    [InlineData("HEAD", "2.0")]
    [InlineData("POST", "2.0")]
    [InlineData("PUT", "2.0")]
    [InlineData("PATCH", "2.0")]
    [InlineData("DELETE", "2.0")]
    [InlineData("OPTIONS", "2.0")]
    [InlineData("PROPFIND", "2.0")]
    [InlineData("BREW", "2.0")]
    public async Task Every_method_reaches_the_application(string method, string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var visit = await Visit.ToAsync(shared.Gateway, await TestApp.StartAsync(context =>
        {
            context.Response.Headers["X-Method"] = context.Request.Method;
            return context.Response.WriteAsync("body");
        }));
        using var visitor = shared.Gateway.CreateVisitor(version);

        using var response = await visitor.SendAsync(new HttpRequestMessage(new HttpMethod(method), visit.Url(version)) { Version = version });

        Assert.Equal(method, Assert.Single(response.Headers.GetValues("X-Method")));
        Assert.Equal(method == "HEAD" ? "" : "body", await response.Content.ReadAsStringAsync());
        Assert.False(response.Headers.Contains("Proxy-Status"));
    }
}
