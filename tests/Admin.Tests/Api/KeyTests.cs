using System.Net;
using System.Net.WebSockets;
using System.Text.Json.Nodes;
using Gateway.Admin.Tokens;
using Gateway.Devices;
using Gateway.Storage;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Tunnel.Protocol;

namespace Gateway.Tests.Api;

/// <summary>Keys: several at once, replaced without a gap, revoked at once.</summary>
public sealed class KeyTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private static async Task<bool> OpensAsync(TestGateway gateway, DeviceUuid uuid, string key)
    {
        await using var device = await RawConnection.OpenAsync(gateway.HttpPort);
        await device.SendAsync(
            $"GET /v1/devices/{uuid}/tunnel HTTP/1.1\r\nHost: tunnel.{TestGateway.Domain}\r\nConnection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {key}\r\n\r\n");
        return (await device.ReadHeadAsync()).StartsWith("HTTP/1.1 101 ", StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_device_has_several_keys_listed_by_fingerprint_and_each_opens_a_tunnel()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        var path = $"/api/v1/devices/{device.Uuid}/keys";
        var expires = DateTimeOffset.UtcNow.AddDays(7);

        var issued = (await someone.PostAsync(path, new { name = "second", expires })).MustBe(HttpStatusCode.Created);

        var second = (string)issued["text"]!;
        Assert.Equal(DeviceKeyHash.Of(second).Fingerprint, (string)issued["key"]!["fingerprint"]!);
        Assert.True(await OpensAsync(Gateway, device.Uuid, device.Key));
        Assert.True(await OpensAsync(Gateway, device.Uuid, second));
        var list = (await someone.GetAsync(path)).MustBe(HttpStatusCode.OK);
        Assert.Equal(2, list["keys"]!.AsArray().Count);
        Assert.DoesNotContain(second, list.Body, StringComparison.Ordinal);
        Assert.DoesNotContain(DeviceKeyHash.Of(second).ToString(), list.Body, StringComparison.Ordinal);
        Assert.Equal("second", (string)list["keys"]![1]!["name"]!);

        (await someone.DeleteAsync($"{path}/{issued["key"]!["fingerprint"]}")).MustBe(HttpStatusCode.NoContent);
        Assert.True(await OpensAsync(Gateway, device.Uuid, device.Key));
        await Eventually.TrueAsync(async () => !await OpensAsync(Gateway, device.Uuid, second), "the revoked key opens nothing");
        (await someone.DeleteAsync($"{path}/{issued["key"]!["fingerprint"]}")).MustBe(HttpStatusCode.NotFound, "unknown-key");
    }

    [Fact]
    public async Task A_rotation_overlaps_and_then_the_old_keys_end_their_tunnels()
    {
        await using var gateway = await TestGateway.StartAsync(new() { ["Devices:CacheTtl"] = "00:00:00.100" });
        using var someone = await Operator.WithAsync(gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        await using var agent = await gateway.ConnectAsync(device, new Uri("http://127.0.0.1:1"));
        var tunnel = gateway.Tunnels.Find(device.Uuid)!;

        var rotated = (await someone.PostAsync($"/api/v1/devices/{device.Uuid}/keys/rotate", new { overlapSeconds = 2 })).MustBe(HttpStatusCode.Created);

        // For the overlap both are good; then the old one opens nothing, and what it opened ends, though nobody asks for the device.
        Assert.True(await OpensAsync(gateway, device.Uuid, (string)rotated["text"]!));
        Assert.True(tunnel.Client.IsOpen);
        await Eventually.EndsAsync(tunnel.Client.Closed, "the old key's tunnel ends");
        Assert.False(await OpensAsync(gateway, device.Uuid, device.Key));
        Assert.True(await OpensAsync(gateway, device.Uuid, (string)rotated["text"]!));
    }

    [Fact]
    public async Task Without_overlap_the_old_keys_end_at_once()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();
        await using var agent = await Gateway.ConnectAsync(device, new Uri("http://127.0.0.1:1"));
        var tunnel = Gateway.Tunnels.Find(device.Uuid)!;

        (await someone.PostAsync($"/api/v1/devices/{device.Uuid}/keys/rotate", new { overlapSeconds = 0 })).MustBe(HttpStatusCode.Created);

        await Eventually.EndsAsync(tunnel.Client.Closed, "the tunnel ends");
        Assert.Single((await someone.GetAsync($"/api/v1/devices/{device.Uuid}/keys"))["keys"]!.AsArray());
    }

    [Theory]
    [InlineData("revoke")]
    [InlineData("delete")]
    public async Task A_revoked_key_or_a_deleted_device_ends_tunnels_and_visitors_connections_on_every_node(string how)
    {
        await using var redis = await RedisServer.StartAsync();
        var settings = new Dictionary<string, string?> { ["Storage:Redis"] = redis.ConnectionString, ["Devices:CacheTtl"] = "00:05:00" };
        await using var one = await TestGateway.StartAsync(settings);
        await using var other = await TestGateway.StartAsync(settings);
        using var someone = await Operator.WithAsync(one, Scope.Operate);
        var device = await someone.AddDeviceAsync(new { publicUrl = true });
        await using var app = await TestApp.StartAsync(static _ => { }, static app =>
        {
            app.UseWebSockets();
            app.Run(static async context =>
            {
                using var socket = await context.WebSockets.AcceptWebSocketAsync();
                await Task.Delay(Timeout.Infinite, context.RequestAborted).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            });
        });
        await using var agent = await other.ConnectAsync(device, app.Url);
        var tunnel = other.Tunnels.Find(device.Uuid)!;
        using var socket = new ClientWebSocket();
        using var visitor = new HttpMessageInvoker(other.CreateHandler());
        await socket.ConnectAsync(new Uri($"ws://{device.Host}/"), visitor, TestContext.Current.CancellationToken);
        var received = socket.ReceiveAsync(new byte[1], TestContext.Current.CancellationToken);

        (how == "delete"
            ? await someone.DeleteAsync($"/api/v1/devices/{device.Uuid}")
            : await someone.DeleteAsync($"/api/v1/devices/{device.Uuid}/keys/{DeviceKeyHash.Of(device.Key).Fingerprint}")).MustBe(HttpStatusCode.NoContent);

        await Eventually.EndsAsync(tunnel.Client.Closed, "the tunnel on the other node ends");
        await Eventually.EndsAsync(received, "the visitor's WebSocket ends");
        Assert.True(received.IsFaulted || (await received).MessageType == WebSocketMessageType.Close);
        await Eventually.TrueAsync(async () => !await OpensAsync(other, device.Uuid, device.Key), "the key opens nothing there");
    }

    [Fact]
    public async Task A_key_that_another_system_wrote_in_the_short_form_works_and_is_rotated_like_others()
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var database = Gateway.Services.GetRequiredService<RedisConnection>().Database;
        var (uuid, (key, hash)) = (DeviceUuid.New(), DeviceKeyHash.New());
        await database.HashSetAsync($"device:{{{uuid}}}", "key", hash.ToString());
        Assert.True(await OpensAsync(Gateway, uuid, key));

        var rotated = (await someone.PostAsync($"/api/v1/devices/{uuid}/keys/rotate", new { })).MustBe(HttpStatusCode.Created);

        Assert.True(await OpensAsync(Gateway, uuid, key));
        Assert.True(await OpensAsync(Gateway, uuid, (string)rotated["text"]!));
        Assert.True((await database.HashGetAsync($"device:{{{uuid}}}", "key")).IsNull);
        (await someone.DeleteAsync($"/api/v1/devices/{uuid}/keys/{hash.Fingerprint}")).MustBe(HttpStatusCode.NoContent);
        await Eventually.TrueAsync(async () => !await OpensAsync(Gateway, uuid, key), "the old key opens nothing");
    }

    [Theory]
    [InlineData("keys", """{"expires":"2001-01-01T00:00:00Z"}""", "which is past")]
    [InlineData("keys", """{"expires":"tomorrow"}""", "expires")]
    [InlineData("keys/rotate", """{"overlapSeconds":-1}""", "overlapSeconds is -1")]
    [InlineData("keys/rotate", """{"overlapSeconds":99999999}""", "overlapSeconds is 99999999")]
    public async Task What_is_wrong_with_a_key_is_named(string path, string body, string named)
    {
        using var someone = await Operator.WithAsync(Gateway, Scope.Operate);
        var device = await someone.AddDeviceAsync();

        (await someone.PostAsync($"/api/v1/devices/{device.Uuid}/{path}", body)).MustBe(HttpStatusCode.BadRequest, "invalid-request", named);
    }
}
