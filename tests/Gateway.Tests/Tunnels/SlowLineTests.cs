using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Tunnels;

/// <summary>What a device's visitors do to each other on a line that carries less than the device can send.</summary>
public sealed class SlowLineTests(SharedGateway shared)
{
    /// <summary>What the kernels may hold, and each download's part in the server; without a limit the device's kernel alone takes 2.5 MB.</summary>
    private const int MostBytesBefore = 1536 * 1024;

    [Fact]
    public async Task A_small_response_does_not_wait_behind_megabytes_of_downloads()
    {
        var cancellationToken = TestContext.Current.CancellationToken;
        var written = 0L;
        var asked = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var app = await TestApp.StartAsync(async context =>
        {
            if (context.Request.Path == "/small")
            {
                asked.TrySetResult();
                await context.Response.WriteAsync("here");
                return;
            }

            var part = new byte[16 * 1024];
            while (!context.RequestAborted.IsCancellationRequested)
            {
                await context.Response.Body.WriteAsync(part, context.RequestAborted);
                Interlocked.Add(ref written, part.Length);
            }
        });
        await using var line = new SlowLine(shared.Gateway.HttpsPort);
        var device = await shared.Gateway.AddDeviceAsync();
        await using var agent = await TestAgent.StartAsync(line.Port, device, app.Url, 1);
        await Eventually.TrueAsync(() => shared.Gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");
        using var visitor = shared.Gateway.CreateVisitor();
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var downloads = Enumerable.Range(0, 4).Select(async _ =>
        {
            await using var body = await visitor.GetStreamAsync(new Uri($"http://{device.Host}/large"), ended.Token);
            await body.CopyToAsync(Stream.Null, ended.Token);
        }).ToArray();
        await Eventually.TrueAsync(() => Interlocked.Read(ref written) > 2 * MostBytesBefore, "the line is full");

        var response = visitor.GetStringAsync(new Uri($"http://{device.Host}/small"), cancellationToken);
        await Eventually.EndsAsync(asked.Task, "the application is asked");
        var before = line.Carried;
        Assert.Equal("here", await response);

        Assert.InRange(line.Carried - before, 0, MostBytesBefore);
        await ended.CancelAsync();
        await Task.WhenAll(downloads).ContinueWith(static _ => { }, TaskScheduler.Default);
    }

    /// <summary>Carries everything to the gateway's port, and what comes from the device at about 1.6 MB/s.</summary>
    private sealed class SlowLine : IAsyncDisposable
    {
        private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 64 * 1024 };
        private readonly CancellationTokenSource _ended = new();
        private readonly Task _carrying;
        private long _carried;

        public SlowLine(int gateway)
        {
            _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            _listener.Listen();
            _carrying = CarryAsync(gateway);
        }

        public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

        /// <summary>Bytes from the device so far.</summary>
        public long Carried => Interlocked.Read(ref _carried);

        public async ValueTask DisposeAsync()
        {
            await _ended.CancelAsync();
            _listener.Dispose();
            await _carrying.ContinueWith(static _ => { }, TaskScheduler.Default);
            _ended.Dispose();
        }

        private async Task CarryAsync(int gateway)
        {
            using var device = await _listener.AcceptAsync(_ended.Token);
            using var upstream = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
            device.NoDelay = true;
            await upstream.ConnectAsync(IPAddress.Loopback, gateway, _ended.Token);
            await Task.WhenAll(CarryAsync(upstream, device, null), CarryAsync(device, upstream, TimeSpan.FromMilliseconds(20)));
        }

        private async Task CarryAsync(Socket from, Socket to, TimeSpan? pause)
        {
            var buffer = new byte[32 * 1024];
            while (await from.ReceiveAsync(buffer, _ended.Token) is > 0 and var count)
            {
                if (pause is { } slow)
                {
                    await Task.Delay(slow, _ended.Token);
                    Interlocked.Add(ref _carried, count);
                }

                await to.SendAsync(buffer.AsMemory(0, count), _ended.Token);
            }
        }
    }
}
