using System.Net;
using System.Threading.Channels;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;
using Tunnel.Protocol.DeviceSide;

namespace Fleet;

/// <summary>A connection's feature: the device that dialled it.</summary>
internal sealed record FleetDevice(DeviceUuid Uuid);

/// <summary>A transport of Kestrel that is the transports of many devices together, each dialling for itself as an agent does.</summary>
internal sealed class FleetTransport(IReadOnlyList<DeviceTunnelOptions> devices, int? perSecond, ILoggerFactory loggers, TimeProvider time)
    : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    private const int MostTicksPerSecond = 100;

    public bool CanBind(EndPoint endpoint) => endpoint is DeviceTunnelEndPoint;

    public async ValueTask<IConnectionListener> BindAsync(EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        await Console.Out.WriteLineAsync($"dialling {devices.Count}");
        var fleet = new FleetListener(endpoint);
        var pace = perSecond ?? devices.Count;
        var batch = perSecond is null ? devices.Count : Math.Max(1, pace / MostTicksPerSecond);
        using var tick = new PeriodicTimer(TimeSpan.FromSeconds((double)batch / pace), time);
        foreach (var (index, device) in devices.Index())
        {
            // A tick that comes late brings no more than one in time: the process answers those who are under way first.
            if (index > 0 && index % batch == 0)
            {
                await tick.WaitForNextTickAsync(cancellationToken);
            }

            fleet.Add(device.Uuid, await new DeviceTunnelTransport(Options.Create(device), loggers, time).BindAsync(endpoint, cancellationToken));
        }

        return fleet;
    }
}

internal sealed class FleetListener : IConnectionListener
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    private readonly List<IConnectionListener> _listeners = [];
    private readonly Channel<ConnectionContext?> _accepted = Channel.CreateUnbounded<ConnectionContext?>();
    private readonly Dictionary<DeviceUuid, int> _up = [];
    private readonly Timer _teller;
    private readonly Lock _lock = new();
    private (int Tunnels, int Devices) _told;

    public FleetListener(EndPoint endpoint)
    {
        EndPoint = endpoint;
        _teller = new Timer(_ => Tell(), null, Pause, Pause);
    }

    public EndPoint EndPoint { get; }

    public void Add(DeviceUuid uuid, IConnectionListener listener)
    {
        _listeners.Add(listener);
        _ = AcceptAllAsync(uuid, listener);
    }

    public ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) => _accepted.Reader.ReadAsync(cancellationToken);

    public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        foreach (var listener in _listeners)
        {
            await listener.UnbindAsync(cancellationToken);
        }

        _accepted.Writer.TryWrite(null);
    }

    public async ValueTask DisposeAsync()
    {
        await _teller.DisposeAsync();
        foreach (var listener in _listeners)
        {
            await listener.DisposeAsync();
        }
    }

    private async Task AcceptAllAsync(DeviceUuid uuid, IConnectionListener listener)
    {
        while (await listener.AcceptAsync() is { } connection)
        {
            connection.Features.Set(new FleetDevice(uuid));
            Count(uuid, 1);
            connection.ConnectionClosed.UnsafeRegister(_ => Count(uuid, -1), null);
            _accepted.Writer.TryWrite(connection);
        }
    }

    private void Count(DeviceUuid uuid, int change)
    {
        lock (_lock)
        {
            _up[uuid] = _up.GetValueOrDefault(uuid) + change;
        }
    }

    private void Tell()
    {
        lock (_lock)
        {
            var now = (_up.Values.Sum(), _up.Values.Count(static tunnels => tunnels > 0));
            if (now != _told)
            {
                _told = now;
                Console.WriteLine($"up {now.Item1} {now.Item2}");
            }
        }
    }
}
