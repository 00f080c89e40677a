using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Gateway.Listeners.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Listeners;

/// <summary>A device's socket as a stream: nothing is lost, whatever has to wait.</summary>
public sealed class DeviceSocketStreamTests : IAsyncLifetime
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Socket _device = new(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
    private DeviceSocketStream _stream = null!;

    public async ValueTask InitializeAsync()
    {
        _listener.Start();
        await _device.ConnectAsync(_listener.LocalEndpoint);
        _stream = new DeviceSocketStream(await _listener.AcceptSocketAsync());
    }

    public async ValueTask DisposeAsync()
    {
        _device.Dispose();
        await _stream.DisposeAsync();
        _listener.Dispose();
    }

    [Fact]
    public async Task What_does_not_fit_into_the_socket_waits_and_arrives_in_order()
    {
        var sent = RandomNumberGenerator.GetBytes(16 * 1024 * 1024);
        var writing = _stream.WriteAsync(sent, TestContext.Current.CancellationToken).AsTask();
        Assert.False(writing.IsCompleted);

        var received = new byte[sent.Length];
        await using var device = new NetworkStream(_device);
        await device.ReadExactlyAsync(received, TestContext.Current.CancellationToken);

        await writing;
        Assert.True(sent.AsSpan().SequenceEqual(received));
    }

    [Fact]
    public async Task A_device_that_has_gone_fails_a_write()
    {
        _device.Close(0);

        await Assert.ThrowsAsync<IOException>(async () =>
        {
            while (true)
            {
                await _stream.WriteAsync(new byte[4096], TestContext.Current.CancellationToken);
            }
        });
    }

    [Fact]
    public async Task A_read_with_a_token_ends_with_data_or_with_the_token_and_the_socket()
    {
        using var stop = new CancellationTokenSource();
        var buffer = new byte[16];
        var reading = _stream.ReadAsync(buffer, stop.Token).AsTask();
        await _device.SendAsync(new byte[] { 1, 2, 3 });
        Assert.Equal(3, await reading.WaitAsync(Eventually.Patience, CancellationToken.None));

        reading = _stream.ReadAsync(buffer, stop.Token).AsTask();
        await stop.CancelAsync();

        var exception = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading.WaitAsync(Eventually.Patience, CancellationToken.None));
        Assert.Equal(stop.Token, exception.CancellationToken);
        var reset = await Assert.ThrowsAsync<SocketException>(() => _device.ReceiveAsync(buffer));
        Assert.Equal(SocketError.ConnectionReset, reset.SocketErrorCode);
    }
}
