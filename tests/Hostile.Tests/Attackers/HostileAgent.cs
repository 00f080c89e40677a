using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Attackers;

/// <summary>
/// A device with a good key that wants to harm. It opens its tunnel as it should, waits for the first request, and then misbehaves, until its
/// tunnel is ended or its time is up; to add a behaviour, write it here and name it in <see cref="Behaviours"/>.
/// </summary>
internal sealed class HostileAgent(int port, TestDevice device)
{
    public static readonly Dictionary<string, Func<HostileAgent, CancellationToken, Task<Flood>>> Behaviours = new(StringComparer.Ordinal)
    {
        ["no HTTP/2 at all"] = static (agent, time) => agent.SendAsync("SSH-2.0-OpenSSH_9.2p1\r\n"u8.ToArray(), time),
        ["a frame beyond the limit"] = static (agent, time) => agent.SendAsync(Http2Writer.Frame(Frame.Data, 0, 1, [], length: 0xffffff), time),
        ["a window beyond the limit"] = static (agent, time) => agent.SendAsync(Http2Writer.Repeat(2, static _ => Http2Writer.Frame(Frame.WindowUpdate, 0, 0, Http2Writer.Number(0x7fffffff))), time),
        ["content beyond the window"] = static (agent, time) => agent.BeyondWindowAsync(time),
        ["a head without end"] = static (agent, time) => agent.EndlessHeadAsync(time),
        ["1xx without end"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, [0x08, 3, .. "103"u8]), reading: true, time),
        ["PING, never reading"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.Ping, 0, 0, new byte[8]), reading: false, time),
        ["PING"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.Ping, 0, 0, new byte[8]), reading: true, time),
        ["SETTINGS, never reading"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.Settings, 0, 0, Http2Writer.Setting(3, 100)), reading: false, time),
        ["SETTINGS"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.Settings, 0, 0, Http2Writer.Setting(3, 100)), reading: true, time),
        ["empty DATA"] = static (agent, time) => agent.EmptyDataAsync(time),
        ["resets of streams that are not there"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.ResetStream, 0, 1, Http2Writer.Number(8)), reading: true, time),
        ["frames of no known type"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(0xfa, 0, 0, []), reading: true, time),
        ["GOAWAY without end"] = static (agent, time) => agent.FramesAsync(Http2Writer.Frame(Frame.GoAway, 0, 0, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]), reading: true, time),
        ["never reading, never answering"] = static (agent, time) => agent.SilentAsync(time),
        ["answers that are half closed at once"] = static (agent, time) => agent.HalfClosedAsync(time),
        ["a storm of dials"] = static (agent, time) => agent.StormAsync(time),
    };

    /// <summary>Behaviours that end the tunnel, however long they go on otherwise.</summary>
    public static readonly HashSet<string> Floods = [.. Behaviours.Keys.Except(["never reading, never answering", "answers that are half closed at once", "a storm of dials"], StringComparer.Ordinal)];

    /// <summary>Misbehaves on a tunnel that a request has come through.</summary>
    private async Task<Flood> FramesAsync(byte[] frame, bool reading, CancellationToken time)
    {
        var flood = await OpenAsync(time);
        flood = reading ? flood.Reading() : flood;
        var many = Http2Writer.Repeat(500, _ => frame);
        await flood.SendAsync(_ => many, time);
        return flood;
    }

    private async Task<Flood> SendAsync(byte[] bytes, CancellationToken time)
    {
        var flood = (await OpenAsync(time)).Reading();
        await flood.SendAsync(bytes, time);
        await flood.StayAsync(time);
        return flood;
    }

    private async Task<Flood> BeyondWindowAsync(CancellationToken time)
    {
        var flood = await OpenAsync(time);
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, [0x88]), time);
        var data = Http2Writer.Frame(Frame.Data, 0, 1, new byte[16 * 1024]);
        await flood.Reading().SendAsync(_ => data, time);
        return flood;
    }

    private async Task<Flood> EndlessHeadAsync(CancellationToken time)
    {
        var flood = (await OpenAsync(time)).Reading();
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, 0, 1, [0x88]), time);
        var more = Http2Writer.Frame(Frame.Continuation, 0, 1, Http2Writer.Fields(("x-filler", new string('a', 8000))));
        await flood.SendAsync(_ => more, time);
        return flood;
    }

    private async Task<Flood> EmptyDataAsync(CancellationToken time)
    {
        var flood = (await OpenAsync(time)).Reading();
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders, 1, [0x88]), time);
        var many = Http2Writer.Repeat(500, static _ => Http2Writer.Frame(Frame.Data, 0, 1, []));
        await flood.SendAsync(_ => many, time);
        return flood;
    }

    private async Task<Flood> SilentAsync(CancellationToken time)
    {
        var flood = await OpenAsync(time);
        var probe = Http2Writer.Frame(Frame.WindowUpdate, 0, 0, Http2Writer.Number(1));
        while (await flood.SendAsync(probe, time))
        {
            await Task.Delay(100, time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return flood;
    }

    // Each request is answered before it is read, and its stream stays half open.
    private async Task<Flood> HalfClosedAsync(CancellationToken time)
    {
        var flood = await OpenAsync(time);
        await flood.SendAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders | Frame.EndStream, 1, [0x88]), time);
        var head = new byte[9];
        try
        {
            while (!time.IsCancellationRequested)
            {
                await flood.Stream.ReadExactlyAsync(head, time);
                await flood.Stream.ReadExactlyAsync(new byte[BinaryPrimitives.ReadInt32BigEndian(head) >> 8], time);
                if (head[3] == Frame.Headers)
                {
                    await flood.SendAsync(Http2Writer.Frame(Frame.Headers, Frame.EndHeaders | Frame.EndStream, BinaryPrimitives.ReadInt32BigEndian(head.AsSpan(5)), [0x88]), time);
                }
                else if (head[3] == Frame.Ping && head[4] == 0)
                {
                    await flood.SendAsync(Http2Writer.Frame(Frame.Ping, Frame.Acknowledged, 0, new byte[8]), time);
                }
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException)
        {
            // Its time is up, or it was cut off.
        }

        return flood;
    }

    private async Task<Flood> StormAsync(CancellationToken time)
    {
        var last = new Flood(Stream.Null);
        while (!time.IsCancellationRequested)
        {
            await last.DisposeAsync();
            (last, _) = await DialAsync();
            await Task.Delay(2, CancellationToken.None); // local ports do not last for more
        }

        return last;
    }

    // A tunnel whose first request has arrived.
    private async Task<Flood> OpenAsync(CancellationToken time)
    {
        var (flood, answer) = await DialAsync();
        if (!answer.StartsWith("HTTP/1.1 101 ", StringComparison.Ordinal))
        {
            await flood.DisposeAsync();
            throw new IOException($"Not let in: {answer}");
        }

        await flood.SendAsync(Http2Writer.Frame(Frame.Settings, 0, 0, []), time);
        var seen = new List<byte>();
        var buffer = new byte[4096];
        using var patience = new CancellationTokenSource(Eventually.Patience);
        while (!HasHead(seen))
        {
            var count = await flood.Stream.ReadAsync(buffer, patience.Token);
            if (count == 0)
            {
                await flood.DisposeAsync();
                throw new IOException("Ended before the first request.");
            }

            seen.AddRange(buffer.AsSpan(0, count));
        }

        return flood;
    }

    private async Task<(Flood Tunnel, string Answer)> DialAsync()
    {
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.Bind(new IPEndPoint(IPAddress.Parse("127.0.0.77"), 0));
        await socket.ConnectAsync(IPAddress.Loopback, port);
        var connection = new RawConnection(new NetworkStream(socket, ownsSocket: true));
        await connection.SendAsync(Handshakes.Of(device).Replace(TestGateway.Domain, "localhost", StringComparison.Ordinal));
        var answer = await connection.ReadToBlankAsync();
        return (new Flood(connection.Stream), answer);
    }

    // Whether a HEADERS frame has come after the preface.
    private static bool HasHead(List<byte> seen)
    {
        var at = Http2Writer.Preface.Length;
        while (seen.Count >= at + 9)
        {
            if (seen[at + 3] == Frame.Headers)
            {
                return true;
            }

            at += 9 + (seen[at] << 16 | seen[at + 1] << 8 | seen[at + 2]);
        }

        return false;
    }
}
