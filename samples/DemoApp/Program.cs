// The web server of a device: a page, a WebSocket echo, and a clock of server-sent events. It listens on loopback only and
// knows nothing of the gateway.
using System.Globalization;
using System.Net.WebSockets;

var builder = WebApplication.CreateSlimBuilder();
builder.Logging.ClearProviders();
builder.WebHost.UseUrls($"http://127.0.0.1:{args.FirstOrDefault() ?? "80"}");
var app = builder.Build();
app.UseWebSockets();

using var resource = typeof(Program).Assembly.GetManifestResourceStream("index.html")!;
using var reader = new StreamReader(resource);
var page = await reader.ReadToEndAsync();
app.MapGet("/", () => Results.Content(page, "text/html; charset=utf-8"));

app.MapGet("/clock", async (HttpContext context) =>
{
    context.Response.ContentType = "text/event-stream";
    using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
    try
    {
        do
        {
            await context.Response.WriteAsync($"data: {DateTime.Now.ToString("HH:mm:ss", CultureInfo.InvariantCulture)}\n\n", context.RequestAborted);
            await context.Response.Body.FlushAsync(context.RequestAborted);
        }
        while (await timer.WaitForNextTickAsync(context.RequestAborted));
    }
    catch (OperationCanceledException)
    {
        // The visitor has left.
    }
});

app.Map("/echo", async (HttpContext context) =>
{
    if (!context.WebSockets.IsWebSocketRequest)
    {
        context.Response.StatusCode = StatusCodes.Status426UpgradeRequired;
        return;
    }

    using var socket = await context.WebSockets.AcceptWebSocketAsync();
    var buffer = new byte[4096];
    try
    {
        while (await socket.ReceiveAsync(buffer.AsMemory(), context.RequestAborted) is { MessageType: not WebSocketMessageType.Close } received)
        {
            await socket.SendAsync(buffer.AsMemory(0, received.Count), received.MessageType, received.EndOfMessage, context.RequestAborted);
        }

        await socket.CloseOutputAsync(socket.CloseStatus ?? WebSocketCloseStatus.NormalClosure, socket.CloseStatusDescription, CancellationToken.None);
    }
    catch (Exception exception) when (exception is WebSocketException or OperationCanceledException)
    {
        // The visitor has left without a word.
    }
});

await app.RunAsync();
