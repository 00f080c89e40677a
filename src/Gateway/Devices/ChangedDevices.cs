using System.Threading.Channels;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Devices;

/// <summary>The devices that the channel of changes has named, for a copy in memory that follows it and is read whole again now and then.</summary>
internal sealed class ChangedDevices(TimeProvider time)
{
    private const int BatchSize = 500;

    private readonly Channel<DeviceUuid> _changed = Channel.CreateUnbounded<DeviceUuid>(new UnboundedChannelOptions { SingleReader = true });

    /// <summary>Takes a message of <see cref="DeviceStore.Changes"/>; what is no uuid is nobody's.</summary>
    public void Hear(RedisValue message)
    {
        if (DeviceUuid.TryParse((string?)message, null, out var uuid))
        {
            _changed.Writer.TryWrite(uuid);
        }
    }

    /// <summary>Some of those that were named and not taken yet, each once.</summary>
    public HashSet<DeviceUuid> Take()
    {
        var changed = new HashSet<DeviceUuid>();
        while (changed.Count < BatchSize && _changed.Reader.TryRead(out var uuid))
        {
            changed.Add(uuid);
        }

        return changed;
    }

    /// <summary>Has changes taken in as they come, until it is time to read everything again.</summary>
    /// <param name="duration">How long.</param>
    /// <param name="take">Calls <see cref="Take"/>.</param>
    /// <param name="stoppingToken">Ends it early, with an exception.</param>
    public async Task FollowAsync(TimeSpan duration, Func<Task> take, CancellationToken stoppingToken)
    {
        using var over = new CancellationTokenSource(duration, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(over.Token, stoppingToken);
        try
        {
            while (await _changed.Reader.WaitToReadAsync(either.Token))
            {
                await take();
            }
        }
        catch (OperationCanceledException) when (!stoppingToken.IsCancellationRequested)
        {
            // Time for the whole.
        }
    }
}
