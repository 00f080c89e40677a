using System.CommandLine;
using Gateway.Admin.Api;
using Gateway.Devices;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway device domain add|list|remove</c>: the domains that devices have of their own.</summary>
internal static class DomainCommands
{
    public static Command Create(VerbFactory verbs) => new("domain", "Domains of a device's own: add, list, remove.") { Add(verbs), List(verbs), Remove(verbs) };

    private static Command Add(VerbFactory verbs)
    {
        var (uuid, domain) = (Values.Device(), Domain("A domain whose DNS leads to the gateway, e.g. kitchen.example.com"));
        return verbs.Create(
            "add",
            "Gives a device a domain of its own. Its certificate comes at the first visit (Certificates:OnDemand).\n\nExample: gateway device domain add 7cf02a6 kitchen.example.com",
            async invocation =>
            {
                var answer = await invocation.Api.SendAsync(HttpMethod.Put, await PathAsync(invocation, uuid, domain), null, invocation.Cancellation);
                return invocation.Print<DomainDocument>(answer, static added => Table.PrintFields(("domain", added.Domain), ("DNS", $"{added.Domain} CNAME {added.Target}.")));
            },
            uuid, domain);
    }

    private static Command List(VerbFactory verbs)
    {
        var uuid = Values.Device();
        return verbs.Create(
            "list",
            "Lists a device's own domains.\n\nExample: gateway device domain list 7cf02a6",
            async invocation =>
            {
                var answer = await invocation.Api.SendAsync(HttpMethod.Get, await PathAsync(invocation, uuid, null), null, invocation.Cancellation);
                return invocation.Print<DomainList>(answer, static list =>
                {
                    foreach (var known in list.Domains)
                    {
                        Console.WriteLine(known.Domain);
                    }
                });
            },
            uuid);
    }

    private static Command Remove(VerbFactory verbs)
    {
        var (uuid, domain) = (Values.Device(), Domain("The domain, from \"gateway device domain list\""));
        return verbs.Create(
            "remove",
            "Takes a domain from a device.\n\nExample: gateway device domain remove 7cf02a6 kitchen.example.com",
            async invocation =>
            {
                var answer = await invocation.Api.SendAsync(HttpMethod.Delete, await PathAsync(invocation, uuid, domain), null, invocation.Cancellation);
                return invocation.Print(answer, () => Console.WriteLine($"removed: {Read(invocation.Result, domain)}"));
            },
            uuid, domain);
    }

    private static Argument<string> Domain(string description)
    {
        var domain = new Argument<string>("domain") { Description = description };
        domain.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !DomainName.TryParse(token.Value, out _))
            {
                result.AddError($"\"{token.Value}\" is no domain of a device: give a name such as kitchen.example.com, without a wildcard.");
            }
        });
        return domain;
    }

    private static DomainName Read(ParseResult result, Argument<string> domain) =>
        DomainName.TryParse(result.GetValue(domain), out var name) ? name : throw new InvalidOperationException("The parser has checked it.");

    private static async Task<string> PathAsync(VerbFactory.Invocation invocation, Argument<string> uuid, Argument<string>? domain) =>
        $"api/v1/devices/{await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation)}/domains{(domain is null ? "" : $"/{Read(invocation.Result, domain)}")}";
}
