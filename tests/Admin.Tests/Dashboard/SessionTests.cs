using System.Net;
using System.Text.RegularExpressions;
using Gateway.Admin.Tokens;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Dashboard;

/// <summary>Sessions: who is let in, for how long, and that nobody else can act in their name.</summary>
public sealed partial class SessionTests : IAsyncLifetime
{
    private TestGateway _gateway = null!;
    private HttpClient _browser = null!;

    public async ValueTask InitializeAsync()
    {
        _gateway = await TestGateway.StartAsync(new() { ["Storage:Timeout"] = "00:00:10", ["Listen:AdminHttps"] = "127.0.0.1:0", ["Admin:MaxFailuresPerMinute"] = "3" });
        _browser = Browser(_gateway);
    }

    public async ValueTask DisposeAsync()
    {
        _browser.Dispose();
        await _gateway.DisposeAsync();
    }

    private static HttpClient Browser(TestGateway gateway, bool tls = true) => new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false, UseCookies = true, CookieContainer = new CookieContainer(), SslOptions = TestGateway.TrustTestAuthority(),
    })
    {
        BaseAddress = new Uri(tls ? $"https://localhost:{gateway.AdminHttpsPort}" : $"http://127.0.0.1:{gateway.AdminPort}"),
    };

    private static async Task<string> FormTokenAsync(HttpClient browser, string path)
    {
        var page = await browser.GetStringAsync(new Uri(path, UriKind.Relative));
        return FormToken().Match(page).Groups["token"].Value;
    }

    private static async Task<HttpResponseMessage> PostAsync(HttpClient browser, string path, string? formToken, params (string Name, string Value)[] fields)
    {
        using var content = new FormUrlEncodedContent([.. fields.Select(static field => KeyValuePair.Create(field.Name, field.Value)), .. formToken is null ? Array.Empty<KeyValuePair<string, string>>() : [new("__RequestVerificationToken", formToken)]]);
        return await browser.PostAsync(new Uri(path, UriKind.Relative), content);
    }

    private async Task<(OperatorToken Token, HttpResponseMessage Answer)> SignInAsync(HttpClient browser, Scope scope, string returnUrl = "")
    {
        var (token, text) = await _gateway.Services.GetRequiredService<TokenStore>().CreateAsync("someone", scope, null, "the tests");
        return (token, await PostAsync(browser, "/signin", await FormTokenAsync(browser, "/signin"), ("token", text), ("returnUrl", returnUrl)));
    }

    [Fact]
    public async Task Who_is_not_signed_in_is_asked_to_and_comes_back_to_the_page()
    {
        using var asked = await _browser.GetAsync(new Uri("/audit", UriKind.Relative));
        Assert.Equal(HttpStatusCode.Redirect, asked.StatusCode);
        Assert.EndsWith("/signin?returnUrl=%2Faudit", asked.Headers.Location!.OriginalString, StringComparison.Ordinal);

        var (_, answer) = await SignInAsync(_browser, Scope.Read, "/audit");
        Assert.Equal((HttpStatusCode.Redirect, "/audit"), (answer.StatusCode, answer.Headers.Location!.OriginalString));
        Assert.Equal(HttpStatusCode.OK, (await _browser.GetAsync(new Uri("/audit", UriKind.Relative))).StatusCode);
    }

    [Theory]
    [InlineData("https://example.com/")]
    [InlineData("//example.com/")]
    [InlineData("/\\example.com/")]
    [InlineData("javascript:alert(1)")]
    public async Task The_way_back_leads_nowhere_else(string returnUrl)
    {
        var (_, answer) = await SignInAsync(_browser, Scope.Read, returnUrl);

        Assert.Equal("/", answer.Headers.Location!.OriginalString);
    }

    [Fact]
    public async Task Cookies_are_for_this_site_alone_and_pages_run_nothing_of_others()
    {
        var (_, answer) = await SignInAsync(_browser, Scope.Read);

        var cookie = answer.Headers.GetValues("Set-Cookie").Single(static cookie => cookie.StartsWith("gateway_session=", StringComparison.Ordinal));
        foreach (var attribute in new[] { "secure", "httponly", "samesite=strict" })
        {
            Assert.Contains(attribute, cookie, StringComparison.OrdinalIgnoreCase);
        }

        using var page = await _browser.GetAsync(new Uri("/", UriKind.Relative));
        var policy = page.Headers.GetValues("Content-Security-Policy").Single();
        Assert.Contains("default-src 'none'", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.Contains("frame-ancestors 'none'", policy, StringComparison.Ordinal);
        Assert.True(page.Headers.CacheControl!.NoStore);
        var html = await page.Content.ReadAsStringAsync();
        Assert.DoesNotMatch("<(script|link|img|iframe)[^>]*(src|href)=\"(https?:)?//", html);
    }

    [Fact]
    public async Task A_form_that_is_not_ours_changes_nothing()
    {
        var device = await _gateway.AddDeviceAsync(publicUrl: false);
        await SignInAsync(_browser, Scope.Admin);
        foreach (var path in new[] { "public-url", "edit", "delete", "keys/issue", "keys/rotate", "keys/revoke" })
        {
            using var answer = await PostAsync(_browser, $"/devices/{device.Uuid}/{path}", null, ("enabled", "true"), ("sure", "true"), ("fingerprint", "0"));
            Assert.True(answer.StatusCode == HttpStatusCode.BadRequest, $"{path}: {answer.StatusCode}");
        }

        using var signOut = await PostAsync(_browser, "/signout", null);
        Assert.Equal(HttpStatusCode.BadRequest, signOut.StatusCode);
        var after = (await _gateway.Devices.FindAsync(device.Uuid))!;
        Assert.Equal((false, 1), (after.PublicUrl, after.Keys.Length));

        // The same with the page's token.
        using var ours = await PostAsync(_browser, $"/devices/{device.Uuid}/public-url", await FormTokenAsync(_browser, $"/devices/{device.Uuid}/actions"), ("enabled", "true"));
        Assert.Equal(HttpStatusCode.Redirect, ours.StatusCode);
        Assert.True((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
    }

    [Fact]
    public async Task A_session_has_its_tokens_scope_and_ends_with_it()
    {
        var device = await _gateway.AddDeviceAsync(publicUrl: false);
        var (token, _) = await SignInAsync(_browser, Scope.Read);
        var form = await FormTokenAsync(_browser, $"/devices/{device.Uuid}/actions");

        using var refused = await PostAsync(_browser, $"/devices/{device.Uuid}/public-url", form, ("enabled", "true"));
        Assert.Equal((HttpStatusCode.Forbidden, "text/html"), (refused.StatusCode, refused.Content.Headers.ContentType!.MediaType));
        Assert.Contains("needs operate", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.False((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);

        // The API takes no cookie.
        Assert.Equal(HttpStatusCode.Unauthorized, (await _browser.GetAsync(new Uri("/api/v1/devices", UriKind.Relative))).StatusCode);

        await _gateway.Services.GetRequiredService<TokenStore>().RevokeAsync(token);
        Assert.Equal(HttpStatusCode.Redirect, (await _browser.GetAsync(new Uri("/", UriKind.Relative))).StatusCode);
    }

    [Fact]
    public async Task Wrong_tokens_are_limited_here_too()
    {
        var form = await FormTokenAsync(_browser, "/signin");
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(HttpStatusCode.Unauthorized, (await PostAsync(_browser, "/signin", form, ("token", "dgt_guess"))).StatusCode);
        }

        Assert.Equal(HttpStatusCode.TooManyRequests, (await PostAsync(_browser, "/signin", form, ("token", "dgt_guess"))).StatusCode);
        Assert.Equal(HttpStatusCode.Redirect, (await SignInAsync(_browser, Scope.Read)).Answer.StatusCode);
    }

    [Fact]
    public async Task What_devices_are_called_is_text_and_nothing_else()
    {
        await SignInAsync(_browser, Scope.Read);
        await _gateway.Devices.AddAsync(new Gateway.Devices.DeviceRecord { Uuid = DeviceUuid.New(), PublicUrl = false, Name = "<script>alert(1)</script>\" onload=\"x", Tags = Gateway.Devices.DeviceRecord.NoTags.Add("a", "<b>'") });

        var html = "";
        await Eventually.TrueAsync(async () => (html = await _browser.GetStringAsync(new Uri("/?q=alert", UriKind.Relative))).Contains("alert(1)", StringComparison.Ordinal), "the device is listed");

        Assert.DoesNotContain("<script>alert", html, StringComparison.Ordinal);
        Assert.DoesNotContain("<b>'", html, StringComparison.Ordinal);
        Assert.DoesNotContain("\" onload=\"x", html, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Another_node_knows_the_session()
    {
        await using var redis = await RedisServer.StartAsync();
        var settings = new Dictionary<string, string?> { ["Storage:Redis"] = redis.ConnectionString };
        await using var one = await TestGateway.StartAsync(settings);
        await using var other = await TestGateway.StartAsync(settings);
        var (_, text) = await one.Services.GetRequiredService<TokenStore>().CreateAsync("someone", Scope.Read, null, "the tests");
        using var browser = Browser(one, tls: false);
        using var answer = await PostAsync(browser, "/signin", await FormTokenAsync(browser, "/signin"), ("token", text));
        var cookie = answer.Headers.GetValues("Set-Cookie").Single(static cookie => cookie.StartsWith("gateway_session=", StringComparison.Ordinal)).Split(';')[0];

        using var request = new HttpRequestMessage(HttpMethod.Get, $"http://127.0.0.1:{other.AdminPort}/") { Headers = { { "Cookie", cookie } } };
        using var elsewhere = Browser(other, tls: false);

        Assert.Equal(HttpStatusCode.OK, (await elsewhere.SendAsync(request)).StatusCode);
    }

    [GeneratedRegex("name=\"__RequestVerificationToken\" value=\"(?<token>[^\"]+)\"", RegexOptions.None, matchTimeoutMilliseconds: 5000)]
    private static partial Regex FormToken();
}
