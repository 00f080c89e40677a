using System.Net;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Playwright;
using Tunnel.Protocol;

namespace Gateway.Tests.Dashboard;

/// <summary>A person at the dashboard, with Chromium and real clicks.</summary>
public sealed class BrowserTests : IAsyncLifetime
{
    /// <summary>Where the screenshots go: GATEWAY_TEST_SCREENSHOTS, or the build's own folder.</summary>
    private static readonly string Screenshots = Environment.GetEnvironmentVariable("GATEWAY_TEST_SCREENSHOTS") ?? Path.Combine(AppContext.BaseDirectory, "screenshots");

    private RedisServer _redis = null!;
    private TestGateway _gateway = null!;
    private IPlaywright _playwright = null!;
    private IBrowser _browser = null!;
    private string _token = "";
    private readonly List<string> _complaints = [];

    private string Address => $"https://localhost:{_gateway.AdminHttpsPort}";

    public async ValueTask InitializeAsync()
    {
        _redis = await RedisServer.StartAsync();
        var (http, https) = (RedisServer.FreePort(), RedisServer.FreePort());
        _gateway = await TestGateway.StartAsync(new()
        {
            ["Storage:Redis"] = _redis.ConnectionString, ["Storage:Timeout"] = "00:00:10", ["Listen:AdminHttps"] = "127.0.0.1:0", ["Listen:Http"] = $"127.0.0.1:{http}", ["Listen:Https"] = $"127.0.0.1:{https}",
        });
        (_, _token) = await _gateway.Services.GetRequiredService<TokenStore>().CreateAsync("alice", Scope.Admin, null, "the tests");
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = "/usr/bin/chromium",
            Args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.gateway.localhost 127.0.0.1"],
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _browser.DisposeAsync();
        _playwright.Dispose();
        await _gateway.DisposeAsync();
        await _redis.DisposeAsync();
    }

    private async Task<IPage> OpenAsync(ColorScheme scheme = ColorScheme.Light, int width = 1280, int height = 860, bool script = true)
    {
        var context = await _browser.NewContextAsync(new BrowserNewContextOptions
        {
            IgnoreHTTPSErrors = true, ColorScheme = scheme, ViewportSize = new ViewportSize { Width = width, Height = height }, JavaScriptEnabled = script,
        });
        var page = await context.NewPageAsync();
        page.Console += (_, message) =>
        {
            // A page that does not keep its own Content-Security-Policy says so here.
            if (message.Type == "error" && message.Text.Contains("Content Security Policy", StringComparison.Ordinal))
            {
                _complaints.Add(message.Text);
            }
        };
        page.PageError += (_, error) => _complaints.Add(error);
        return page;
    }

    private async Task<IPage> SignInAsync(ColorScheme scheme = ColorScheme.Light, int width = 1280, int height = 860, bool script = true)
    {
        var page = await OpenAsync(scheme, width, height, script);
        await page.GotoAsync(Address);
        await page.GetByLabel("Operator's token").FillAsync(_token);
        await page.GetByRole(AriaRole.Button, new() { Name = "Sign in" }).ClickAsync();
        await Assertions.Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Fleet" })).ToBeVisibleAsync();
        return page;
    }

    private async Task<TestDevice> FleetAsync()
    {
        string[] names = ["Lobby display", "Greenhouse 3", "Loading dock", "Print kiosk", "Weather mast", "Kitchen", "Server room", "Ticket gate 1", "Ticket gate 2", "Workshop"];
        foreach (var (i, name) in names.Index())
        {
            await _gateway.Devices.AddAsync(new DeviceRecord
            {
                Uuid = DeviceUuid.New(), Name = name, PublicUrl = i % 3 == 0, Tags = DeviceRecord.NoTags.Add("site", i % 2 == 0 ? "oslo" : "rome").Add(i % 3 == 0 ? "kiosk" : "sensor", ""),
            });
        }

        using var someone = await Operator.WithAsync(_gateway, Scope.Operate, "set-up");
        return await someone.AddDeviceAsync(new { name = "Coffee machine", tags = new Dictionary<string, string> { ["site"] = "oslo", ["floor"] = "2" } });
    }

    [Fact]
    public async Task Sign_in_find_the_device_tick_the_checkbox_visit_and_untick()
    {
        var device = await FleetAsync();
        await using var app = await TestApp.StartAsync(static context =>
        {
            context.Response.ContentType = "text/html";
            return context.Response.WriteAsync("<h1>Hello World!</h1>");
        });
        await using var agent = await Operator.ConnectAsync(_gateway, device, app.Url);
        var page = await SignInAsync();
        await Assertions.Expect(page.GetByText("11 devices")).ToBeVisibleAsync();
        Directory.CreateDirectory(Screenshots);
        await ShootAsync(page, "fleet.png");

        await page.Keyboard.PressAsync("/");
        await page.Keyboard.TypeAsync("coffee");
        await page.Keyboard.PressAsync("Enter");
        await Assertions.Expect(page.GetByText("1 device match")).ToBeVisibleAsync();
        await Assertions.Expect(page.Locator(".status.online")).ToHaveCountAsync(1);
        await page.GetByRole(AriaRole.Link, new() { Name = "Coffee machine", Exact = true }).ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "Actions" }).ClickAsync();

        var checkbox = page.GetByRole(AriaRole.Checkbox, new() { Name = "Enable a public URL for this device" });
        await Assertions.Expect(checkbox).Not.ToBeCheckedAsync();
        await checkbox.ClickAsync();
        await Assertions.Expect(page.GetByText("The public URL is on.")).ToBeVisibleAsync();
        await Assertions.Expect(checkbox).ToBeCheckedAsync();
        await ShootAsync(page, "actions.png");

        var visit = page.Context.WaitForPageAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "Open" }).ClickAsync();
        var visited = await visit;
        await Assertions.Expect(visited.GetByRole(AriaRole.Heading, new() { Name = "Hello World!" })).ToBeVisibleAsync();

        await page.BringToFrontAsync();
        await checkbox.ClickAsync();
        await Assertions.Expect(page.GetByText("The public URL is off.")).ToBeVisibleAsync();
        var answer = await visited.ReloadAsync();
        Assert.Equal(404, answer!.Status);
        await Assertions.Expect(visited.GetByRole(AriaRole.Heading, new() { Name = "There is no device at this address" })).ToBeVisibleAsync();

        await page.GetByRole(AriaRole.Link, new() { Name = "Summary" }).ClickAsync();
        await ShootAsync(page, "device.png");
        await page.GetByRole(AriaRole.Link, new() { Name = "Keys" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Issue one more key" }).ClickAsync();
        await Assertions.Expect(page.GetByText("shown this once")).ToBeVisibleAsync();
        await Assertions.Expect(page.Locator("tbody tr")).ToHaveCountAsync(2);
        foreach (var tab in new[] { "Activity", "Audit" })
        {
            await page.Locator(".tabs").GetByRole(AriaRole.Link, new() { Name = tab }).ClickAsync();
            await Assertions.Expect(page.GetByRole(AriaRole.Table).First).ToBeVisibleAsync();
            await ShootAsync(page, $"{tab.ToLowerInvariant()}.png");
        }

        await page.GetByRole(AriaRole.Link, new() { Name = "Tokens" }).ClickAsync();
        await page.GetByLabel("Name").FillAsync("night shift");
        await page.GetByLabel("Scope").SelectOptionAsync("read");
        await page.GetByRole(AriaRole.Button, new() { Name = "Create the token" }).ClickAsync();
        await Assertions.Expect(page.GetByText("shown this once")).ToBeVisibleAsync();
        await ShootAsync(page, "tokens.png");
        var row = page.Locator("tr", new() { HasText = "night shift" });
        await row.Locator("summary").ClickAsync();
        await row.GetByRole(AriaRole.Button, new() { Name = "Revoke night shift" }).ClickAsync();
        await Assertions.Expect(page.GetByText("The token was revoked.")).ToBeVisibleAsync();
        await Assertions.Expect(row).ToHaveCountAsync(0);

        await page.GotoAsync($"{Address}/reference");
        await Assertions.Expect(page.GetByText("/api/v1/devices/{uuid}/keys/rotate")).ToBeVisibleAsync();
        await ShootAsync(page, "reference.png");
        Assert.Empty(_complaints);
    }

    [Fact]
    public async Task At_phone_width_and_in_the_dark_nothing_is_cut_off()
    {
        var device = await FleetAsync();
        Directory.CreateDirectory(Screenshots);
        foreach (var (scheme, width, name) in new[] { (ColorScheme.Light, 390, "phone"), (ColorScheme.Dark, 1280, "dark"), (ColorScheme.Dark, 390, "phone-dark") })
        {
            var page = await SignInAsync(scheme, width);
            await ShootAsync(page, $"{name}-fleet.png");
            foreach (var path in new[] { "", "/actions", "/keys", "/activity", "/audit" }.Select(tab => $"/devices/{device.Uuid}{tab}").Concat(["/tokens", "/audit", "/reference", "/devices/new"]))
            {
                await page.GotoAsync($"{Address}{path}");
                Assert.True(await page.EvaluateAsync<bool>("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), $"{name}{path} scrolls sideways");
                if (path[1..] is "tokens" or "audit" || path.EndsWith("/keys", StringComparison.Ordinal))
                {
                    await ShootAsync(page, $"{name}-{path.Split('/')[^1]}.png");
                }
            }

            await page.GotoAsync($"{Address}/devices/{device.Uuid}/actions");
            await ShootAsync(page, $"{name}-actions.png");
            await page.Context.CloseAsync();
        }
    }

    [Fact]
    public async Task Without_script_the_checkbox_has_a_button()
    {
        var device = await FleetAsync();
        var page = await SignInAsync(script: false);
        await page.GotoAsync($"{Address}/devices/{device.Uuid}/actions");

        await page.GetByRole(AriaRole.Checkbox, new() { Name = "Enable a public URL for this device" }).CheckAsync();
        await page.Locator("noscript button").ClickAsync();

        await Assertions.Expect(page.GetByText("The public URL is on.")).ToBeVisibleAsync();
        Assert.True((await _gateway.Devices.FindAsync(device.Uuid))!.PublicUrl);
    }

    [Fact]
    public async Task A_device_that_comes_and_goes_is_seen_without_loading_the_page_again()
    {
        var device = await FleetAsync();
        var page = await SignInAsync();
        var row = page.Locator($"[data-uuid='{device.Uuid}']");
        await Assertions.Expect(row.Locator(".status.offline")).ToBeVisibleAsync();

        await using (await Operator.ConnectAsync(_gateway, device))
        {
            await Assertions.Expect(row.Locator(".status.online")).ToBeVisibleAsync(new() { Timeout = 20_000 });
        }

        await Assertions.Expect(row.Locator(".status.offline")).ToBeVisibleAsync(new() { Timeout = 20_000 });
    }

    private static async Task ShootAsync(IPage page, string name) => await page.ScreenshotAsync(new PageScreenshotOptions { Path = Path.Combine(Screenshots, name), FullPage = true });
}
