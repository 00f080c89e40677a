using Gateway.Listeners;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Tests.Listeners;

/// <summary>A connection that is aborted and disposed of at the same moment harms nobody.</summary>
public sealed class ServerConnectionTests
{
    [Fact]
    public async Task Whoever_waits_for_the_end_of_a_connection_is_told_although_it_is_disposed_of()
    {
        var told = 0;
        const int connections = 10_000;
        for (var i = 0; i < connections; i++)
        {
            await using var connection = new ServerConnection();
            connection.ConnectionClosed.UnsafeRegister(_ => Interlocked.Increment(ref told), null);
            connection.Abort(new ConnectionAbortedException());
        }

        await Eventually.TrueAsync(() => Volatile.Read(ref told) == connections, "all are told");
    }
}
