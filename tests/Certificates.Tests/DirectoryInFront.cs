using System.Net;
using System.Security.Cryptography.X509Certificates;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Certificates;

/// <summary>An HTTPS server that the gateway takes for an ACME server: the test says what it answers.</summary>
internal sealed class DirectoryInFront : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly TestPki _pki = new();
    private int _requests;

    private DirectoryInFront(Func<TestPki, X509Certificate2> certificate, RequestDelegate answer)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(
            kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.UseHttps(certificate(_pki))));
        _app = builder.Build();
        _app.Run(context =>
        {
            Interlocked.Increment(ref _requests);
            return answer(context);
        });
    }

    /// <summary>How often it was asked.</summary>
    public int Requests => Volatile.Read(ref _requests);

    public string Url => $"https://localhost:{new Uri(_app.Urls.First()).Port}/dir";

    /// <summary>The authority of its certificate, PEM.</summary>
    public string Authority => _pki.Root.ExportCertificatePem();

    public static async Task<DirectoryInFront> StartAsync(RequestDelegate answer)
    {
        var server = new DirectoryInFront(
            static pki =>
            {
                var (certificate, key) = pki.Issue(["localhost"]);
                using var pair = X509Certificate2.CreateFromPem(certificate, key);
                return X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pfx), null);
            },
            answer);
        await server._app.StartAsync();
        return server;
    }

    /// <summary>A directory that passes for pebble's, with something added.</summary>
    /// <param name="pebble">Whose endpoints it names.</param>
    /// <param name="add">Changes the directory; the argument is this server's base address.</param>
    /// <param name="answer">Answers everything else.</param>
    public static async Task<DirectoryInFront> StartAsync(PebbleServer pebble, Action<System.Text.Json.Nodes.JsonObject, string> add, RequestDelegate answer)
    {
        var inner = new HttpClient(new SocketsHttpHandler { SslOptions = PebbleServer.Trust(X509Certificate2.CreateFromPem(await File.ReadAllTextAsync(pebble.CaFile))) });
        return await StartAsync(async context =>
        {
            if (context.Request.Path != "/dir")
            {
                await answer(context);
                return;
            }

            var directory = System.Text.Json.Nodes.JsonNode.Parse(await inner.GetStringAsync(new Uri(pebble.Directory)))!.AsObject();
            add(directory, $"https://localhost:{context.Request.Host.Port}");
            context.Response.ContentType = "application/json";
            await context.Response.WriteAsync(directory.ToJsonString());
        });
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        _pki.Dispose();
    }
}

/// <summary>A clock that a test can set; what is measured in elapsed time is not touched.</summary>
internal sealed class WrongClock : TimeProvider
{
    private long _offset;

    /// <summary>How far it is ahead.</summary>
    public TimeSpan Ahead
    {
        get => TimeSpan.FromTicks(Interlocked.Read(ref _offset));
        set => Interlocked.Exchange(ref _offset, value.Ticks);
    }

    public override DateTimeOffset GetUtcNow() => base.GetUtcNow() + Ahead;
}
