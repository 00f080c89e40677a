// Many devices in one process, each with the tunnels that the agent would keep (Tunnel.Protocol), and one application behind
// them all. Arguments: the gateway's tunnel address, the CA's PEM file or "-", a file with a line "<uuid> <key>" for each
// device, how many tunnels each keeps, and how many devices begin to dial in a second (all at once if not given). Says
// "dialling N" when it begins, "up <tunnels> <devices>" when that changes, and "twice <id>" when a POST with that
// X-Request-Id has come before. Ends with SIGTERM.
using System.Collections.Concurrent;
using System.Globalization;
using System.Net.WebSockets;
using System.Security.Cryptography.X509Certificates;
using Fleet;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;
using Tunnel.Protocol;
using Tunnel.Protocol.DeviceSide;

var roots = new X509Certificate2Collection();
if (args[1] != "-")
{
    roots.ImportFromPemFile(args[1]);
}

var devices = File.ReadAllLines(args[2]).Select(line => line.Split(' ')).Select(parts => new DeviceTunnelOptions
{
    Gateway = new Uri(args[0]),
    Uuid = DeviceUuid.Parse(parts[0]),
    Key = parts[1],
    TrustedRoots = roots,
    Connections = int.Parse(args[3], CultureInfo.InvariantCulture),
    UserAgent = "fleet",
}).ToArray();

var builder = WebApplication.CreateSlimBuilder();
builder.Logging.ClearProviders();
builder.WebHost.UseDeviceTunnel(one => (one.Gateway, one.Uuid, one.Key) = (devices[0].Gateway, devices[0].Uuid, devices[0].Key));
builder.Services.AddSingleton<IConnectionListenerFactory>(services => new FleetTransport(
    devices, args.Length > 4 ? int.Parse(args[4], CultureInfo.InvariantCulture) : null, services.GetRequiredService<ILoggerFactory>(), services.GetRequiredService<TimeProvider>())); // Kestrel asks the last one first
await using var app = builder.Build();
var seen = new ConcurrentDictionary<string, bool>(StringComparer.Ordinal);
app.UseWebSockets();
app.Run(async context =>
{
    if (context.WebSockets.IsWebSocketRequest)
    {
        await EchoAsync(await context.WebSockets.AcceptWebSocketAsync(), app.Lifetime.ApplicationStopping);
        return;
    }

    // A safe request may be repeated (RFC 9110 section 9.2.1).
    if (HttpMethods.IsPost(context.Request.Method) && context.Request.Headers["X-Request-Id"] is [{ } id] && !seen.TryAdd(id, true))
    {
        Console.WriteLine($"twice {id}");
    }

    await context.Request.Body.CopyToAsync(Stream.Null, context.RequestAborted);
    if (int.TryParse(context.Request.Query["ms"], CultureInfo.InvariantCulture, out var milliseconds))
    {
        await Task.Delay(milliseconds, context.RequestAborted);
    }

    if (int.TryParse(context.Request.Query["mib"], CultureInfo.InvariantCulture, out var mebibytes))
    {
        var part = new byte[64 * 1024];
        for (var i = 0; i < 16 * mebibytes; i++)
        {
            await context.Response.Body.WriteAsync(part, context.RequestAborted);
        }

        return;
    }

    // The device's own word, not the request's: whoever is led astray sees it.
    var answer = context.Features.GetRequiredFeature<FleetDevice>().Uuid.ToString();
    context.Response.ContentLength = answer.Length;
    await context.Response.WriteAsync(answer);
});
await app.RunAsync();

static async Task EchoAsync(WebSocket socket, CancellationToken stopping)
{
    var buffer = new byte[1024];
    try
    {
        while (await socket.ReceiveAsync(buffer, stopping) is { MessageType: not WebSocketMessageType.Close } got)
        {
            await socket.SendAsync(buffer.AsMemory(0, got.Count), got.MessageType, got.EndOfMessage, stopping);
        }

        await socket.CloseAsync(socket.CloseStatus!.Value, socket.CloseStatusDescription, stopping);
    }
    catch (Exception exception) when (exception is WebSocketException or OperationCanceledException or ConnectionAbortedException)
    {
        // The visitor, or the tunnel, has gone.
    }
}
