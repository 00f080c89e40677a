using System.CommandLine;
using System.CommandLine.Parsing;
using Gateway.Devices;
using Gateway.Listeners;
using Tunnel.Protocol;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway device domain add|list|remove</c>: the domains that devices have of their own.</summary>
internal static class DomainCommands
{
    public static Command Create(Action<ParseResult, IConfigurationManager> configure)
    {
        var device = DeviceArgument();
        var name = new Argument<string>("domain") { Description = "A domain whose DNS leads to the gateway, e.g. kitchen.example.com" };
        name.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !DomainName.TryParse(token.Value, out _))
            {
                result.AddError($"\"{token.Value}\" is no domain of a device: give a name such as kitchen.example.com, without a wildcard.");
            }
        });

        var add = new Command("add", "Gives a device a domain of its own. Its certificate comes at the first visit (Certificates:OnDemand).") { device, name };
        add.SetAction((result, _) => RunAsync(result, configure, (services, uuid) => AddAsync(services, uuid, NameOf(result, name))));
        var remove = new Command("remove", "Takes a domain from a device.") { device, name };
        remove.SetAction((result, _) => RunAsync(result, configure, async (services, uuid) =>
        {
            var domain = NameOf(result, name);
            if (!await services.GetRequiredService<DomainStore>().RemoveAsync(domain, uuid))
            {
                return await StoreVerb.FailAsync($"{domain} is no domain of the device {uuid}.", ExitCode.NotFound);
            }

            Console.WriteLine($"removed: {domain}");
            return ExitCode.Ok;
        }));
        var list = new Command("list", "Lists a device's own domains.") { device };
        list.SetAction((result, _) => RunAsync(result, configure, async (services, uuid) =>
        {
            foreach (var domain in await services.GetRequiredService<DomainStore>().ListAsync(uuid))
            {
                Console.WriteLine(domain);
            }

            return ExitCode.Ok;
        }));
        return new Command("domain", "Domains of a device's own.") { add, list, remove };

        Task<int> RunAsync(ParseResult result, Action<ParseResult, IConfigurationManager> configure, Func<IServiceProvider, DeviceUuid, Task<int>> act) =>
            StoreVerb.RunAsync(
                result, configure,
                static services => services.AddSingleton<DeviceStore>().AddSingleton<DomainStore>(),
                async services =>
                {
                    var uuid = DeviceUuid.Parse(result.GetValue(device)!.ToLowerInvariant());
                    return await services.GetRequiredService<DeviceStore>().FindAsync(uuid) is null
                        ? await StoreVerb.FailAsync($"there is no device {uuid}.", ExitCode.NotFound)
                        : await act(services, uuid);
                });
    }

    private static async Task<int> AddAsync(IServiceProvider services, DeviceUuid uuid, DomainName domain)
    {
        var hosts = services.GetRequiredService<HostNames>();
        if (hosts.Domains.FirstOrDefault(known => $".{domain}".EndsWith($".{known}", StringComparison.OrdinalIgnoreCase)) is { } own)
        {
            return await StoreVerb.FailAsync($"{domain} is below {own}, which is the gateway's own: give a domain of the device's owner.", ExitCode.Failure);
        }

        var owner = await services.GetRequiredService<DomainStore>().AddAsync(domain, uuid);
        if (owner != uuid)
        {
            return await StoreVerb.FailAsync($"{domain} belongs to the device {owner}: remove it there first.", ExitCode.Failure);
        }

        Console.WriteLine($"domain: {domain}");
        Console.WriteLine($"DNS:    {domain} CNAME {uuid}.{hosts.PrimaryDomain}.");
        return ExitCode.Ok;
    }

    private static Argument<string> DeviceArgument()
    {
        var uuid = new Argument<string>("uuid") { Description = "The device's 32 or 62 hex digits" };
        uuid.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !DeviceUuid.TryParse(token.Value.ToLowerInvariant(), null, out _))
            {
                result.AddError($"\"{token.Value}\" is no device uuid: give 32 (or 62) hex digits.");
            }
        });
        return uuid;
    }

    private static DomainName NameOf(ParseResult result, Argument<string> name) =>
        DomainName.TryParse(result.GetValue(name), out var domain) ? domain : throw new InvalidOperationException("The parser has checked it.");
}
