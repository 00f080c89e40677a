using Gateway.Listeners.Http1;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using BadHttpRequestException = Microsoft.AspNetCore.Http.BadHttpRequestException;

namespace Gateway.Tests.Listeners;

/// <summary>A Kestrel server behind the guard, with an application that echoes.</summary>
internal sealed class GuardedServer : IAsyncDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly WebApplication _app;
    private readonly X509Certificate2? _certificate;

    private GuardedServer(HttpProtocols protocols, bool tls, Func<HttpContext, string, Task>? write)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders().AddProvider(Log).SetMinimumLevel(LogLevel.Debug);
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen =>
        {
            listen.Protocols = protocols;
            if (_certificate is not null)
                listen.UseHttps(new HttpsConnectionAdapterOptions { ServerCertificate = _certificate });
            listen.UseStrictHttp1();
        }));
        if (tls)
        {
            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            using var made = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256)
                .CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
            _certificate = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pfx), null);
        }

        _app = builder.Build();
        _app.UseStrictHttp1Refusal(write);
        _app.UseWebSockets();
        _app.Run(AnswerAsync);
    }

    public ConcurrentQueue<string> Served { get; } = new();

    public Collector Log { get; } = new();

    public int Port { get; private set; }

    public static async Task<GuardedServer> StartAsync(
        HttpProtocols protocols = HttpProtocols.Http1, bool tls = false, Func<HttpContext, string, Task>? write = null)
    {
        var server = new GuardedServer(protocols, tls, write);
        await server._app.StartAsync();
        server.Port = new Uri(server._app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port;
        return server;
    }

    public async Task<Client> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        await socket.ConnectAsync(IPAddress.Loopback, Port);
        return new Client(new NetworkStream(socket, ownsSocket: true));
    }

    /// <summary>Sends and returns everything that comes until the server ends the connection.</summary>
    public async Task<string> ExchangeAsync(string request)
    {
        await using var client = await ConnectAsync();
        await client.SendAsync(request);
        return await client.ReadToEndAsync();
    }

    public bool IsItsCertificate(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors) =>
        certificate is not null && certificate.GetRawCertData().AsSpan().SequenceEqual(_certificate!.RawData);

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync();
        await _app.DisposeAsync();
        _certificate?.Dispose();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        Served.Enqueue($"{context.Request.Method} {context.Request.Path}");
        switch (context.Request.Path.Value)
        {
            case "/ws":
                using (var socket = await context.WebSockets.AcceptWebSocketAsync())
                {
                    var buffer = new byte[100];
                    for (var got = await socket.ReceiveAsync(buffer, CancellationToken.None);
                        got.MessageType != WebSocketMessageType.Close;
                        got = await socket.ReceiveAsync(buffer, CancellationToken.None))
                    {
                        await socket.SendAsync(buffer.AsMemory(0, got.Count), got.MessageType, got.EndOfMessage, CancellationToken.None);
                    }

                    await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
                }

                return;

            case "/unread":
                await context.Response.WriteAsync("unread");
                return;

            case "/early":
                await context.Response.WriteAsync("early");
                await context.Response.Body.FlushAsync();
                break;

            case "/stubborn":
                try
                {
                    await context.Request.Body.CopyToAsync(Stream.Null);
                }
                catch (BadHttpRequestException exception)
                {
                    await context.Response.WriteAsync($"caught {exception.StatusCode}");
                }

                return;

            case "/connection":
                context.Response.Headers.Connection = "keep-alive";
                break;
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var length = 0L;
        var piece = new byte[8192];
        for (var read = await context.Request.Body.ReadAsync(piece); read > 0; read = await context.Request.Body.ReadAsync(piece))
        {
            hash.AppendData(piece, 0, read);
            length += read;
        }

        var trailers = context.Request.SupportsTrailers()
            ? string.Concat(context.Request.GetTrailer("X-A").Select(value => $" X-A={value}"))
            : "";
        var sum = Convert.ToHexString(hash.GetHashAndReset());
        await context.Response.WriteAsync($"{context.Request.Method} {context.Request.Path} {context.Request.Protocol} {length} {sum}{trailers}\n");
    }

    internal sealed class Client(Stream stream) : IAsyncDisposable
    {
        private readonly CancellationTokenSource _patience = new(Patience);
        private readonly StringBuilder _received = new();

        public Stream Stream => stream;

        public CancellationToken Token => _patience.Token;

        public async Task SendAsync(string text) => await stream.WriteAsync(Encoding.Latin1.GetBytes(text), _patience.Token);

        public async Task<string> ReadUntilAsync(string end)
        {
            var buffer = new byte[4096];
            while (!_received.ToString().Contains(end, StringComparison.Ordinal))
            {
                var read = await stream.ReadAsync(buffer, _patience.Token);
                if (read == 0)
                    throw new EndOfStreamException($"Not found before the end: {end}; received: {_received}");
                _received.Append(Encoding.Latin1.GetString(buffer, 0, read));
            }

            var all = _received.ToString();
            var length = all.IndexOf(end, StringComparison.Ordinal) + end.Length;
            _received.Remove(0, length);
            return all[..length];
        }

        public async Task<string> ReadToEndAsync()
        {
            var buffer = new byte[4096];
            try
            {
                for (var read = await stream.ReadAsync(buffer, _patience.Token); read > 0; read = await stream.ReadAsync(buffer, _patience.Token))
                    _received.Append(Encoding.Latin1.GetString(buffer, 0, read));
            }
            catch (IOException exception) when (exception.InnerException is SocketException { SocketErrorCode: SocketError.ConnectionReset })
            {
                // Ended too.
            }

            return _received.ToString();
        }

        public async ValueTask DisposeAsync()
        {
            _patience.Dispose();
            await stream.DisposeAsync();
        }
    }

    internal sealed class Collector : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<(LogLevel Level, string Text)> Entries { get; } = new();

        public IEnumerable<string> WarningsAndErrors => Entries.Where(entry => entry.Level >= LogLevel.Warning).Select(entry => entry.Text);

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Entries.Enqueue((logLevel, $"{eventId.Name}: {formatter(state, exception)} {exception}"));

        public void Dispose()
        {
        }
    }
}
