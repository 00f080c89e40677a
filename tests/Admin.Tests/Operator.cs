using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Cluster;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests;

/// <summary>An operator with a token, at a gateway's admin listener.</summary>
internal sealed class Operator : IDisposable
{
    private readonly HttpClient _client;

    private Operator(int adminPort, string token, string id)
    {
        (Token, TokenId) = (token, id);
        _client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{adminPort}"), Timeout = TimeSpan.FromSeconds(60) };
        _client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
    }

    public string Token { get; }

    public string TokenId { get; }

    public static async Task<Operator> WithAsync(TestGateway gateway, Scope scope, string name = "a test")
    {
        var (token, text) = await gateway.Services.GetRequiredService<TokenStore>().CreateAsync(name, scope, null, "the tests");
        return new Operator(gateway.AdminPort, text, token.Id);
    }

    /// <summary>One whose token is whatever is given.</summary>
    public static Operator WithToken(TestGateway gateway, string token) => new(gateway.AdminPort, token, "");

    /// <summary>One at a gateway that is a process of its own.</summary>
    public static Operator At(GatewayProcess gateway, string token) => new(gateway.AdminPort, token, "");

    public async Task<Answer> SendAsync(HttpMethod method, string path, object? body = null, Action<HttpRequestMessage>? configure = null)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = body as HttpContent ?? (body is string text ? new StringContent(text, Encoding.UTF8, "application/json") : JsonContent.Create(body));
        }

        configure?.Invoke(request);
        using var response = await _client.SendAsync(request, TestContext.Current.CancellationToken);
        return new Answer(response.StatusCode, await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), response.Headers, response.Content.Headers.ContentType?.MediaType);
    }

    public Task<Answer> GetAsync(string path, Action<HttpRequestMessage>? configure = null) => SendAsync(HttpMethod.Get, path, null, configure);

    public Task<Answer> PostAsync(string path, object body) => SendAsync(HttpMethod.Post, path, body);

    public Task<Answer> PutAsync(string path, object body, Action<HttpRequestMessage>? configure = null) => SendAsync(HttpMethod.Put, path, body, configure);

    public Task<Answer> PatchAsync(string path, object body, Action<HttpRequestMessage>? configure = null) => SendAsync(HttpMethod.Patch, path, body, configure);

    public Task<Answer> DeleteAsync(string path, Action<HttpRequestMessage>? configure = null) => SendAsync(HttpMethod.Delete, path, null, configure);

    /// <summary>Adds a device by the API.</summary>
    public async Task<TestDevice> AddDeviceAsync(object? creation = null)
    {
        var created = await PostAsync("/api/v1/devices", creation ?? new { });
        Assert.Equal(HttpStatusCode.Created, created.Status);
        return new TestDevice(Tunnel.Protocol.DeviceUuid.Parse((string)created["device"]!["uuid"]!), (string)created["key"]!);
    }

    /// <summary>Starts the device's agent, and waits until operators see its tunnel.</summary>
    public static async Task<TestAgent> ConnectAsync(TestGateway gateway, TestDevice device, Uri? target = null)
    {
        var agent = await gateway.ConnectAsync(device, target ?? new Uri("http://127.0.0.1:1"));
        var presence = gateway.Services.GetRequiredService<Presence>();
        await Eventually.TrueAsync(async () => (await presence.AreOnlineAsync([device.Uuid]))[0] && !(await presence.FindAsync(device.Uuid)).IsEmpty, "the tunnel is written down");
        return agent;
    }

    /// <summary>The newest entries of the audit, the newest first.</summary>
    public async Task<JsonArray> AuditAsync(string query = "") => (await GetAsync($"/api/v1/audit?{query}"))["entries"]!.AsArray();

    public void Dispose() => _client.Dispose();
}

internal sealed record Answer(HttpStatusCode Status, string Body, HttpResponseHeaders Headers, string? MediaType)
{
    public JsonNode? this[string name] => JsonNode.Parse(Body)![name];

    public string? ETag => Headers.ETag?.ToString();

    /// <summary>Fails unless this is a problem document with this name.</summary>
    public Answer MustBe(HttpStatusCode status, string reason, string detail = "")
    {
        Assert.Equal(((int)status, "application/problem+json"), ((int)Status, MediaType));
        Assert.Equal($"urn:device-gateway:problem:{reason}", (string?)this["type"]);
        Assert.Equal((int)status, (int?)this["status"]);
        Assert.Contains(detail, (string?)this["detail"], StringComparison.Ordinal);
        return this;
    }

    public Answer MustBe(HttpStatusCode status)
    {
        Assert.True(status == Status, $"Expected {status}, got {Status}: {Body}");
        return this;
    }
}
