using System.Net;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using StackExchange.Redis;

namespace Gateway.Tests;

/// <summary>Redis comes back empty: what the nodes know is served on and written back; what was deleted stays deleted.</summary>
public sealed class EmptiedStoreTests
{
    private const string Domain = "kitchen.example.com";

    private static async Task<IDatabase> ConnectAsync(TestCluster cluster, List<IAsyncDisposable> owned)
    {
        var redis = await ConnectionMultiplexer.ConnectAsync(cluster.Redis.ConnectionString);
        owned.Add(redis);
        return redis.GetDatabase();
    }

    private static Task MarkIsKnownAsync(IDatabase database) => Eventually.TrueAsync(() => database.KeyExistsAsync(StoreMark.Key), "the store is marked");

    [Fact]
    public async Task An_emptied_Redis_cuts_off_no_connected_device_and_is_filled_again()
    {
        await using var app = await TestApp.StartAsync(static context => context.Response.WriteAsync("here"));
        await using var cluster = await TestCluster.StartAsync(2);
        List<IAsyncDisposable> owned = [];
        var database = await ConnectAsync(cluster, owned);
        var device = await cluster[0].AddDeviceAsync();
        await cluster[0].Services.GetRequiredService<DomainStore>().AddAsync(Name(), device.Uuid);
        await using var agent = await cluster[0].ConnectAsync(device, app.Url);
        await TestCluster.KnowsRoutesAsync(cluster[1], device.Uuid, 1);
        using var visitor = cluster[1].CreateVisitor();
        await Eventually.TrueAsync(async () => await StatusAsync(visitor, Domain) == HttpStatusCode.OK, "the device has a domain");
        await MarkIsKnownAsync(database);
        var record = await database.HashGetAllAsync($"device:{{{device.Uuid}}}");

        await cluster.Redis.FlushAsync();

        // Served all the time, on the node that has no tunnel of it as well.
        async Task<bool> IsWholeAsync()
        {
            Assert.Equal("here", await visitor.GetStringAsync($"http://{device.Host}/"));
            Assert.Equal(HttpStatusCode.OK, await StatusAsync(visitor, Domain));
            return await database.KeyExistsAsync(StoreMark.Key)
                && await database.HashLengthAsync($"route:{{{device.Uuid}}}") == 1
                && await database.HashExistsAsync("domains", Domain)
                && (await database.HashGetAllAsync($"device:{{{device.Uuid}}}")).ToHashSet().SetEquals(record);
        }

        await Eventually.TrueAsync(IsWholeAsync, "the device, its domain and its route are in Redis again");
        Assert.NotNull(cluster[0].Tunnels.Find(device.Uuid));

        // What is missing now was deleted, also straight in Redis: nodes see it when they look, and they look for whom visitors ask.
        using var neighbour = cluster[0].CreateVisitor();
        await Eventually.TrueAsync(
            async () =>
            {
                await database.KeyDeleteAsync($"device:{{{device.Uuid}}}");
                return await StatusAsync(visitor, device.Host) == HttpStatusCode.NotFound && await StatusAsync(neighbour, device.Host) == HttpStatusCode.NotFound
                    && cluster[0].Tunnels.Find(device.Uuid) is null;
            },
            "the deleted device is gone");
        foreach (var one in owned)
        {
            await one.DisposeAsync();
        }

        static DomainName Name() => DomainName.TryParse(Domain, out var name) ? name : throw new InvalidOperationException();
    }

    [Fact]
    public async Task A_device_deleted_while_Redis_was_whole_does_not_come_back_with_its_loss()
    {
        await using var cluster = await TestCluster.StartAsync(1);
        List<IAsyncDisposable> owned = [];
        var database = await ConnectAsync(cluster, owned);
        var (deleted, kept) = (await cluster[0].AddDeviceAsync(), await cluster[0].AddDeviceAsync());
        var directory = cluster[0].Services.GetRequiredService<DeviceDirectory>();
        _ = await directory.FindAsync(deleted.Uuid);
        _ = await directory.FindAsync(kept.Uuid);
        await MarkIsKnownAsync(database);
        await cluster[0].Devices.DeleteAsync(deleted.Uuid, static _ => { });
        await Eventually.TrueAsync(async () => (await directory.FindAsync(deleted.Uuid)).Known.Record is null, "the node knows");

        await cluster.Redis.FlushAsync();

        await Eventually.TrueAsync(() => database.KeyExistsAsync($"device:{{{kept.Uuid}}}"), "the other one is back");
        await MarkIsKnownAsync(database);
        Assert.False(await database.KeyExistsAsync($"device:{{{deleted.Uuid}}}"));
        foreach (var one in owned)
        {
            await one.DisposeAsync();
        }
    }

    private static async Task<HttpStatusCode> StatusAsync(HttpClient visitor, string host)
    {
        using var answer = await visitor.GetAsync($"http://{host}/");
        return answer.StatusCode;
    }
}
