using Gateway.Devices;
using Gateway.Tests.Harness;
using Microsoft.Extensions.DependencyInjection;

namespace Gateway.Tests.Stores;

/// <summary>What a node knows of a device, from one reading to the next.</summary>
public sealed class DeviceEntryTests
{
    [Fact]
    public async Task What_has_not_changed_stays_the_same_object_and_what_has_does_not()
    {
        await using var gateway = await TestGateway.StartAsync();
        var device = await gateway.AddDeviceAsync();
        await gateway.Devices.ChangeAsync(device.Uuid, static record => record with { Name = "one", Tags = record.Tags.SetItem("site", "a") });
        var (entry, _) = await gateway.Services.GetRequiredService<DeviceDirectory>().FindAsync(device.Uuid);

        var first = await entry.RefreshAsync();
        var second = await entry.RefreshAsync();
        await gateway.Devices.ChangeAsync(device.Uuid, static record => record with { Tags = record.Tags.SetItem("site", "b") });
        var third = await entry.RefreshAsync();

        Assert.NotSame(first, second);
        Assert.Same(first.Record, second.Record);
        Assert.NotSame(second.Record, third.Record);
        Assert.Equal("b", third.Record!.Tags["site"]);
    }

    [Fact]
    public async Task Who_visits_is_told_when_the_public_url_is_switched_off_and_who_comes_later_is_not_told_of_that()
    {
        await using var gateway = await TestGateway.StartAsync();
        var device = await gateway.AddDeviceAsync();
        var (entry, _) = await gateway.Services.GetRequiredService<DeviceDirectory>().FindAsync(device.Uuid);
        var visit = entry.PublicUrlClosed;
        Assert.False(visit.IsCancellationRequested);

        await gateway.Devices.ChangeAsync(device.Uuid, static record => record with { PublicUrl = false });
        await entry.RefreshAsync();
        Assert.True(visit.IsCancellationRequested);
        Assert.True(entry.PublicUrlClosed.IsCancellationRequested);

        await gateway.Devices.ChangeAsync(device.Uuid, static record => record with { PublicUrl = true });
        await entry.RefreshAsync();
        Assert.False(entry.PublicUrlClosed.IsCancellationRequested);
        Assert.True(visit.IsCancellationRequested);
    }
}
