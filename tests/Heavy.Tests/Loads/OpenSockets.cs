using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>WebSockets to devices, each in use all the time; one that ends is opened again.</summary>
internal sealed class OpenSockets : IAsyncDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<string, int> _ends = new(StringComparer.Ordinal);
    private readonly List<Task> _keeping;
    private readonly int _port;
    private int _open;
    private int _echoes;

    public OpenSockets(int port, IEnumerable<TestDevice> devices)
    {
        _port = port;
        _keeping = [.. devices.Select(device => Task.Run(() => KeepAsync(device)))];
    }

    public int Open => Volatile.Read(ref _open);

    public int Echoes => Volatile.Read(ref _echoes);

    /// <summary>How those ended that did, by close code, and how often.</summary>
    public IReadOnlyDictionary<string, int> Ends => _ends;

    /// <summary>Ends that were not proper: without a Close frame, with an unfit code, or before the socket was open.</summary>
    public int Improper => _ends.Where(static end => end.Key is not ("1001" or "1012")).Sum(static end => end.Value);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_keeping);
        _stop.Dispose();
    }

    private async Task KeepAsync(TestDevice device)
    {
        while (!_stop.IsCancellationRequested)
        {
            using var socket = new ClientWebSocket();
            using var invoker = new HttpMessageInvoker(new SocketsHttpHandler
            {
                UseProxy = false,
                ConnectCallback = async (_, cancellationToken) =>
                {
                    var tcp = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                    await tcp.ConnectAsync(IPAddress.Loopback, _port, cancellationToken);
                    return new NetworkStream(tcp, ownsSocket: true);
                },
            });
            try
            {
                await socket.ConnectAsync(new Uri($"ws://{device.Host}/"), invoker, _stop.Token);
                Interlocked.Increment(ref _open);
                try
                {
                    await TalkAsync(socket);
                }
                finally
                {
                    Interlocked.Decrement(ref _open);
                }
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception) when (exception is WebSocketException or HttpRequestException or IOException)
            {
                Count(socket.State == WebSocketState.Connecting || socket.SubProtocol is null && socket.State == WebSocketState.Closed ? $"not opened: {exception.GetBaseException().Message}" : $"broken off: {exception.GetBaseException().Message}");
                await Task.Delay(Pause).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task TalkAsync(ClientWebSocket socket)
    {
        var buffer = new byte[64];
        while (!_stop.IsCancellationRequested)
        {
            await socket.SendAsync("hello"u8.ToArray(), WebSocketMessageType.Text, endOfMessage: true, _stop.Token);
            if (await socket.ReceiveAsync(buffer, _stop.Token) is { MessageType: WebSocketMessageType.Close })
            {
                Count($"{(int?)socket.CloseStatus}");
                await socket.CloseOutputAsync(socket.CloseStatus ?? WebSocketCloseStatus.Empty, null, _stop.Token);
                return;
            }

            Interlocked.Increment(ref _echoes);
            await Task.Delay(Pause, _stop.Token);
        }
    }

    private void Count(string end) => _ends.AddOrUpdate(end, 1, static (_, count) => count + 1);
}
