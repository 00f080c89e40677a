using System.Net;
using System.Net.Sockets;
using System.Text;
using Gateway.Listeners.Proxy;
using Gateway.Listeners.Sockets;
using Gateway.Tests.Harness;
using Microsoft.Extensions.Time.Testing;

namespace Gateway.Tests.Listeners;

/// <summary>What a client says first, in parts, too late, or not to its end.</summary>
public sealed class FirstBytesTests : IAsyncLifetime
{
    private const string Head = "PROXY TCP4 203.0.113.9 198.51.100.1 56324 443\r\n";

    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Socket _client = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private Socket _server = null!;

    public async ValueTask InitializeAsync()
    {
        _listener.Start();
        await _client.ConnectAsync(_listener.LocalEndpoint);
        _server = await _listener.AcceptSocketAsync();
    }

    public ValueTask DisposeAsync()
    {
        _client.Dispose();
        _server.Dispose();
        _listener.Dispose();
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task What_comes_in_parts_is_found_when_it_is_whole_and_stays_in_the_socket()
    {
        var peek = PeekAsync(Hour, TimeProvider.System);
        foreach (var part in Head.Chunk(7))
        {
            Assert.False(peek.IsCompleted);
            await _client.SendAsync(Encoding.ASCII.GetBytes(part));
        }

        var (isFound, header) = await peek.WaitAsync(Eventually.Patience);
        Assert.True(isFound);
        Assert.Equal("203.0.113.9:56324", $"{header.Source}");
        Assert.Equal(Head.Length, _server.Available);
    }

    [Fact]
    public async Task Who_says_half_of_it_and_goes_is_not_waited_for()
    {
        var peek = PeekAsync(Hour, TimeProvider.System);
        await _client.SendAsync(Encoding.ASCII.GetBytes(Head[..20]));
        Assert.False(peek.IsCompleted);

        _client.Shutdown(SocketShutdown.Send);

        var (isFound, _) = await peek.WaitAsync(Eventually.Patience);
        Assert.Null(isFound);
    }

    [Fact]
    public async Task Who_says_all_of_it_and_then_no_more_is_heard()
    {
        var peek = PeekAsync(Hour, TimeProvider.System);
        await _client.SendAsync(Encoding.ASCII.GetBytes(Head[..20]));
        await _client.SendAsync(Encoding.ASCII.GetBytes(Head[20..]));
        _client.Shutdown(SocketShutdown.Send);

        var (isFound, _) = await peek.WaitAsync(Eventually.Patience);
        Assert.True(isFound);
    }

    [Theory]
    [InlineData("")]
    [InlineData("PROXY TCP4 203.0.113.9 ")]
    public async Task Who_says_too_little_for_too_long_is_given_up(string said)
    {
        var time = new FakeTimeProvider();
        var peek = PeekAsync(TimeSpan.FromSeconds(5), time);
        await _client.SendAsync(Encoding.ASCII.GetBytes(said));
        time.Advance(TimeSpan.FromSeconds(4));
        Assert.False(peek.IsCompleted);

        time.Advance(TimeSpan.FromSeconds(1));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => peek.WaitAsync(Eventually.Patience));
    }

    private Task<(bool? IsFound, ProxyHeader Value)> PeekAsync(TimeSpan patience, TimeProvider time) =>
        FirstBytes.PeekAsync<ProxyHeader>(_server, ProxyHeader.MaxLength, ProxyHeader.TryParse, patience, time, TestContext.Current.CancellationToken).AsTask();
}
