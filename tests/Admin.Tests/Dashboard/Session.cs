using System.Net;
using System.Text.RegularExpressions;

namespace Gateway.Tests.Dashboard;

/// <summary>Somebody at the dashboard whose browser runs no script.</summary>
internal sealed partial class Session : IDisposable
{
    private readonly CookieContainer _cookies = new();
    private readonly HttpClient _browser;

    private Session(int adminPort) => _browser = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, CookieContainer = _cookies })
    {
        BaseAddress = new Uri($"http://127.0.0.1:{adminPort}"), Timeout = TimeSpan.FromSeconds(60),
    };

    /// <summary>The values of the cookies, which are secrets.</summary>
    public IEnumerable<string> Cookies => _cookies.GetAllCookies().Select(static cookie => cookie.Value);

    /// <summary>Signs in.</summary>
    public static async Task<Session> WithAsync(int adminPort, string token)
    {
        var session = new Session(adminPort);
        Assert.Equal(HttpStatusCode.Redirect, (await session.PostAsync("/signin", "/signin", ("token", token))).Status);
        return session;
    }

    public async Task<Page> GetAsync(string path)
    {
        using var answer = await _browser.GetAsync(new Uri(path, UriKind.Relative));
        return await Page.OfAsync(answer);
    }

    /// <summary>Sends a form of a page, with the page's own protection.</summary>
    public async Task<Page> PostAsync(string path, string page, params (string Name, string Value)[] fields)
    {
        var form = FormToken().Match((await GetAsync(page)).Body).Groups["token"].Value;
        using var content = new FormUrlEncodedContent(fields.Append(("__RequestVerificationToken", form)).Select(static field => KeyValuePair.Create(field.Item1, field.Item2)));
        using var answer = await _browser.PostAsync(new Uri(path, UriKind.Relative), content);
        return await Page.OfAsync(answer);
    }

    public void Dispose() => _browser.Dispose();

    [GeneratedRegex("name=\"__RequestVerificationToken\" value=\"(?<token>[^\"]+)\"", RegexOptions.None, matchTimeoutMilliseconds: 5000)]
    private static partial Regex FormToken();
}

internal sealed record Page(HttpStatusCode Status, string Body, string? Location)
{
    public static async Task<Page> OfAsync(HttpResponseMessage answer) =>
        new(answer.StatusCode, await answer.Content.ReadAsStringAsync(), answer.Headers.Location?.OriginalString);
}
