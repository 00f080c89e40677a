using System.Globalization;
using Bench.Processes;

namespace Bench.Link;

/// <summary>
/// A long line between two network namespaces: two TUN devices, and between them packets that arrive late or never. It does
/// what netem does, for kernels that have none.
/// </summary>
internal static class LongLine
{
    private const int OpenReadWrite = 2;

    /// <summary>TUNSETIFF, and the flags IFF_TUN and IFF_NO_PI (linux/if_tun.h): IP packets with nothing before them.</summary>
    private const nuint TunSetIff = 0x400454ca;
    private const short TunWithoutInformation = 0x1001;
    private const int NameLength = 16;
    private const int RequestLength = 40;
    private const int MaxPacket = 65536;

    /// <summary>Runs until it is told to stop. Arguments: names of the two devices, the delay of each way in ms, packets lost per 100,000.</summary>
    public static int Run(string[] arguments, CancellationToken stopping)
    {
        var (one, other) = (Open(arguments[0]), Open(arguments[1]));
        var delay = TimeSpan.FromMilliseconds(double.Parse(arguments[2], CultureInfo.InvariantCulture));
        var loss = int.Parse(arguments[3], CultureInfo.InvariantCulture);
        Carry(one, other, delay, loss);
        Carry(other, one, delay, loss);
        Console.WriteLine("ready");
        stopping.WaitHandle.WaitOne();
        return 0;
    }

    private static unsafe int Open(string name)
    {
        var file = Native.Open("/dev/net/tun", OpenReadWrite);
        if (file < 0)
        {
            throw new BenchException("/dev/net/tun cannot be opened");
        }

        Span<byte> request = stackalloc byte[RequestLength];
        request.Clear();
        System.Text.Encoding.ASCII.GetBytes(name, request[..NameLength]);
        BitConverter.TryWriteBytes(request[NameLength..], TunWithoutInformation);
        fixed (byte* pointer = request)
        {
            return Native.Ioctl(file, TunSetIff, pointer) == 0 ? file : throw new BenchException($"the network device {name} cannot be made: it needs root");
        }
    }

    /// <summary>One direction: a thread that takes packets, and one that hands them over when they are due.</summary>
    private static void Carry(int from, int to, TimeSpan delay, int loss)
    {
        var line = new System.Collections.Concurrent.BlockingCollection<(long Due, byte[] Packet)>();
        Start(() => Take(from, line, delay, loss));
        Start(() => Deliver(to, line));

        static void Start(Action action) => new Thread(() => action()) { IsBackground = true }.Start();
    }

    private static unsafe void Take(int from, System.Collections.Concurrent.BlockingCollection<(long Due, byte[] Packet)> line, TimeSpan delay, int loss)
    {
        var buffer = new byte[MaxPacket];
        while (true)
        {
            nint length;
            fixed (byte* pointer = buffer)
            {
                length = Native.Read(from, pointer, MaxPacket);
            }

            if (length > 0 && Random.Shared.Next(100_000) >= loss)
            {
                line.Add((TimeProvider.System.GetTimestamp() + (long)(delay.TotalSeconds * TimeProvider.System.TimestampFrequency), buffer[..(int)length]));
            }
        }
    }

    private static unsafe void Deliver(int to, System.Collections.Concurrent.BlockingCollection<(long Due, byte[] Packet)> line)
    {
        foreach (var (due, packet) in line.GetConsumingEnumerable())
        {
            while (TimeProvider.System.GetTimestamp() is var now && now < due)
            {
                Thread.Sleep(TimeProvider.System.GetElapsedTime(now, due) > TimeSpan.FromMilliseconds(1) ? TimeProvider.System.GetElapsedTime(now, due) : TimeSpan.FromMilliseconds(1));
            }

            fixed (byte* pointer = packet)
            {
                _ = Native.Write(to, pointer, (nuint)packet.Length);
            }
        }
    }
}
