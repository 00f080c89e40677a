using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Gateway.Admin.Api;
using Gateway.Listeners;

namespace Gateway.Admin.CommandLine;

/// <summary>The API from the command line's side. What the gateway refuses becomes a <see cref="CommandException"/>.</summary>
internal sealed class ApiClient : IDisposable
{
    public static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull };

    private readonly HttpClient _http;
    private readonly string _name;

    private ApiClient(HttpClient http, string name, string token)
    {
        (_http, _name) = (http, name);
        http.Timeout = Timeout.InfiniteTimeSpan;
        http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
    }

    /// <summary>A gateway at an address.</summary>
    public static ApiClient At(ClientOptions options)
    {
        var handler = new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false, ConnectTimeout = TimeSpan.FromSeconds(10) };
        if (options.CaFile.Length > 0)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.ImportFromPemFile(options.CaFile);
            handler.SslOptions = new SslClientAuthenticationOptions { CertificateChainPolicy = policy };
        }

        return new ApiClient(new HttpClient(handler) { BaseAddress = new Uri(options.Server.TrimEnd('/') + "/") }, options.Server, options.Token);
    }

    /// <summary>An API in this process.</summary>
    public static ApiClient InProcess(InProcessTransport transport, string token) => new(
        new HttpClient(new SocketsHttpHandler { UseProxy = false, ConnectCallback = (_, _) => ValueTask.FromResult(transport.Connect()) })
        {
            BaseAddress = new Uri("http://localhost/"),
        },
        "the store", token);

    /// <summary>Sends a request, and reads the answer.</summary>
    /// <exception cref="CommandException">The gateway refused, or cannot be reached.</exception>
    public async Task<JsonNode?> SendAsync(HttpMethod method, string path, object? body, CancellationToken cancellationToken)
    {
        using var response = await OpenAsync(method, path, body, "application/json", cancellationToken);
        var text = await response.Content.ReadAsStringAsync(cancellationToken);
        return text.Length == 0 ? null : JsonNode.Parse(text);
    }

    public async Task<T> SendAsync<T>(HttpMethod method, string path, object? body, CancellationToken cancellationToken) =>
        (await SendAsync(method, path, body, cancellationToken)).Deserialize<T>(Json)!;

    /// <summary>Sends a request whose answer comes line by line.</summary>
    public async IAsyncEnumerable<T> StreamAsync<T>(
        HttpMethod method, string path, object body, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using var response = await OpenAsync(method, path, body, "application/x-ndjson", cancellationToken);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        while (await ReadLineAsync(reader, cancellationToken) is { } line)
        {
            yield return JsonSerializer.Deserialize<T>(line, Json)!;
        }
    }

    private async Task<string?> ReadLineAsync(StreamReader reader, CancellationToken cancellationToken)
    {
        try
        {
            return await reader.ReadLineAsync(cancellationToken);
        }
        catch (Exception exception) when (exception is IOException or HttpRequestException)
        {
            throw new CommandException(ExitCode.Unavailable, $"{_name} broke off in the middle ({exception.Message.TrimEnd('.')}); the same again does the rest.");
        }
    }

    /// <summary>The whole uuid: what was given, or the one device that it is the beginning of.</summary>
    /// <exception cref="CommandException">No device begins with it, or more than one does.</exception>
    public async Task<string> ResolveAsync(string text, CancellationToken cancellationToken)
    {
        text = text.ToLowerInvariant();
        if (text.Length is 32 or 62)
        {
            return text;
        }

        var list = await SendAsync<DeviceList>(HttpMethod.Get, $"api/v1/devices?limit=2&uuid={text}", null, cancellationToken);
        return list.Total switch
        {
            0 => throw new CommandException(ExitCode.NotFound, $"there is no device that begins with {text}."),
            1 => list.Devices[0].Uuid,
            _ => throw new CommandException(ExitCode.Usage, $"{list.Total} devices begin with {text}: give more digits."),
        };
    }

    public void Dispose() => _http.Dispose();

    private async Task<HttpResponseMessage> OpenAsync(HttpMethod method, string path, object? body, string accept, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Accept.ParseAdd(accept);
        if (body is not null)
        {
            request.Content = new StringContent(JsonSerializer.Serialize(body, Json), Encoding.UTF8, "application/json");
        }

        HttpResponseMessage response;
        try
        {
            response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        }
        catch (HttpRequestException exception)
        {
            throw new CommandException(ExitCode.Unavailable, $"{_name} cannot be reached: {exception.Message}");
        }

        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        using (response)
        {
            throw await ExplainAsync(response, cancellationToken);
        }
    }

    private async Task<CommandException> ExplainAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        var status = response.StatusCode switch
        {
            HttpStatusCode.NotFound => ExitCode.NotFound,
            HttpStatusCode.BadRequest => ExitCode.Usage,
            HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden or HttpStatusCode.TooManyRequests => ExitCode.Denied,
            HttpStatusCode.ServiceUnavailable or HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout => ExitCode.Unavailable,
            _ => ExitCode.Failure,
        };
        // What visitors are told has Proxy-Status: this is a gateway's other side.
        if (response.Content.Headers.ContentType?.MediaType != "application/problem+json" || response.Headers.Contains("Proxy-Status"))
        {
            return new CommandException(status == ExitCode.NotFound ? ExitCode.Failure : status, $"{_name} answered {(int)response.StatusCode}, which no gateway's admin address does: check --server.");
        }

        if (response.StatusCode == HttpStatusCode.Unauthorized)
        {
            return new CommandException(status, "the token is unknown, revoked or expired: check GATEWAY_TOKEN (or --token); \"gateway token create\" on the gateway's machine makes one.");
        }

        var problem = JsonNode.Parse(await response.Content.ReadAsStringAsync(cancellationToken))!;
        var text = (string?)problem["detail"] is { Length: > 0 } detail ? detail : (string?)problem["title"] ?? "";
        return new CommandException(status, text.Length > 1 && char.IsLower(text[1]) ? char.ToLowerInvariant(text[0]) + text[1..] : text);
    }
}

/// <summary>Ends a verb: the exit status, and why.</summary>
internal sealed class CommandException(int status, string message) : Exception(message)
{
    public int Status => status;
}
