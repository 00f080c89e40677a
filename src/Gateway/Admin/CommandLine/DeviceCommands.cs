using System.CommandLine;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin.CommandLine;

/// <summary>The verbs that write devices, straight into the store: the gateway need not run.</summary>
internal static class DeviceCommands
{
    private static readonly TimeSpan StoreTimeout = TimeSpan.FromSeconds(5);

    public static Command CreateDevice(Action<ParseResult, IConfigurationManager> configure)
    {
        var name = new Option<string?>("--name") { HelpName = "text", Description = "What people call the device" };
        var uuid = new Option<string?>("--uuid") { HelpName = "hex", Description = "An identity that the device already has, 32 or 62 hex digits (default: a new one)" };
        AcceptOnlyUuid(uuid);
        var publicUrl = new Option<bool>("--public-url") { Description = "Switch the public URL on at once" };
        var add = new Command("add", "Adds a device and prints its uuid and its key; the key is shown this once.") { name, uuid, publicUrl };
        add.SetAction((result, _) => WithStoreAsync(result, configure, async (store, hosts) =>
        {
            var device = result.GetValue(uuid) is { } given ? DeviceUuid.Parse(given.ToLowerInvariant()) : DeviceUuid.New();
            var (key, hash) = DeviceKeyHash.New();
            if (!await store.AddAsync(device, hash, result.GetValue(name), result.GetValue(publicUrl)))
            {
                await Console.Error.WriteLineAsync($"gateway: the device {device} exists already.");
                return ExitCode.Failure;
            }

            Console.WriteLine($"uuid: {device}");
            Console.WriteLine($"key:  {key}");
            Console.WriteLine($"host: {device}.{hosts.PrimaryDomain} (public URL {(result.GetValue(publicUrl) ? "enabled" : "disabled")})");
            return ExitCode.Ok;
        }));
        return new Command("device", "Devices.") { add, DomainCommands.Create(configure) };
    }

    public static Command CreatePublicUrl(Action<ParseResult, IConfigurationManager> configure)
    {
        var uuid = new Argument<string>("uuid") { Description = "The device's 32 or 62 hex digits" };
        uuid.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !IsUuid(token.Value))
            {
                result.AddError($"\"{token.Value}\" is no device uuid: give 32 (or 62) hex digits.");
            }
        });
        var enable = new Option<bool>("--enable") { Description = "Let visitors reach the device" };
        var disable = new Option<bool>("--disable") { Description = "Turn visitors away; open connections end at once" };
        var status = new Option<bool>("--status") { Description = "Say which of the two it is" };
        var command = new Command("public-url", "Switches a device's public URL.") { uuid, enable, disable, status };
        command.Validators.Add(result =>
        {
            if (new[] { enable, disable, status }.Count(option => result.GetValue(option)) != 1)
            {
                result.AddError("Give one of --enable, --disable and --status.");
            }
        });
        command.SetAction((result, _) => WithStoreAsync(result, configure, async (store, hosts) =>
        {
            var device = DeviceUuid.Parse(result.GetValue(uuid)!.ToLowerInvariant());
            var found = result.GetValue(status)
                ? (await store.FindAsync(device))?.PublicUrl
                : await store.SetPublicUrlAsync(device, result.GetValue(enable)) ? result.GetValue(enable) : null;
            if (found is null)
            {
                await Console.Error.WriteLineAsync($"gateway: there is no device {device}.");
                return ExitCode.NotFound;
            }

            Console.WriteLine(found.Value ? $"enabled: {device}.{hosts.PrimaryDomain}" : "disabled");
            return ExitCode.Ok;
        }));
        return command;
    }

    private static async Task<int> WithStoreAsync(
        ParseResult result, Action<ParseResult, IConfigurationManager> configure, Func<DeviceStore, HostNames, Task<int>> act)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        configure(result, builder.Configuration);
        builder.AddStorage();
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton<DeviceStore>();
        builder.Services.AddOptions<DomainOptions>().BindConfiguration(DomainOptions.Section);
        builder.Services.AddSingleton<IValidateOptions<DomainOptions>, DomainOptions.Validator>();
        builder.Services.AddSingleton<HostNames>();
        await using var services = builder.Services.BuildServiceProvider();
        var redis = services.GetRequiredService<RedisConnection>();
        await redis.StartAsync(CancellationToken.None);
        try
        {
            await redis.FirstConnected.WaitAsync(StoreTimeout);
            return await act(services.GetRequiredService<DeviceStore>(), services.GetRequiredService<HostNames>());
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            throw exception as StoreUnavailableException
                ?? new StoreUnavailableException($"Redis does not answer ({exception.Message}): check {StorageOptions.Section}:Redis, or start the gateway first.");
        }
    }

    private static void AcceptOnlyUuid(Option<string?> option) => option.Validators.Add(static result =>
    {
        if (result.Tokens is [var token] && !IsUuid(token.Value))
        {
            result.AddError($"\"{token.Value}\" is no device uuid: give 32 (or 62) hex digits.");
        }
    });

    private static bool IsUuid(string text) => DeviceUuid.TryParse(text.ToLowerInvariant(), null, out _);
}
