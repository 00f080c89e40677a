using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Gateway.Admin.Api;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway device ...</c></summary>
internal static class DeviceCommands
{
    private const int MaxPage = 1000;

    public static Command Create(VerbFactory verbs) => new("device", "Devices: add, list, show, update, remove, their keys and domains.")
    {
        Add(verbs), List(verbs), Show(verbs), Update(verbs), Remove(verbs), KeyCommands.Create(verbs), DomainCommands.Create(verbs),
    };

    private static Command Add(VerbFactory verbs)
    {
        var name = new Option<string?>("--name") { HelpName = "text", Description = "What people call the device" };
        var uuid = Values.WholeUuid("--uuid", "An identity that the device already has, 32 or 62 hex digits (default: a new one)");
        var tags = Values.Tags("A tag; may be given more than once");
        var publicUrl = new Option<bool>("--public-url") { Description = "Switch the public URL on at once" };
        var selfService = new Option<bool>("--self-service") { Description = "Let the device switch its public URL itself" };
        return verbs.Create(
            "add",
            "Adds a device and prints its uuid and its key; the key is shown this once.\n\nExample: gateway device add --name kitchen --tag site=oslo --public-url",
            async invocation =>
            {
                var result = invocation.Result;
                var answer = await invocation.Api.SendAsync(HttpMethod.Post, "api/v1/devices", new DeviceCreation
                {
                    Uuid = result.GetValue(uuid),
                    Name = result.GetValue(name),
                    Tags = Split(result.GetValue(tags)),
                    PublicUrl = result.GetValue(publicUrl) ? true : null,
                    SelfService = result.GetValue(selfService) ? true : null,
                }, invocation.Cancellation);
                return invocation.Print<CreatedDevice>(answer, static created =>
                {
                    Console.WriteLine($"uuid: {created.Device.Uuid}");
                    Console.WriteLine($"key:  {created.Key}");
                    Console.WriteLine($"host: {new Uri(created.Device.Url).Host} (public URL {(created.Device.PublicUrl ? "enabled" : "disabled")})");
                });
            },
            name, uuid, tags, publicUrl, selfService);
    }

    private static Command List(VerbFactory verbs)
    {
        var name = new Option<string?>("--name") { HelpName = "text", Description = "A part of the name" };
        var uuid = new Option<string?>("--uuid") { HelpName = "hex", Description = "The first digits of the uuid" };
        var tags = Values.Tags("Only with this tag; may be given more than once");
        var online = new Option<bool>("--online") { Description = "Only those that have a tunnel" };
        var offline = new Option<bool>("--offline") { Description = "Only those that have none" };
        var enabled = new Option<bool>("--enabled") { Description = "Only those whose public URL is on" };
        var disabled = new Option<bool>("--disabled") { Description = "Only those whose public URL is off" };
        var sort = new Option<string>("--sort") { HelpName = "name|uuid", Description = "The order", DefaultValueFactory = static _ => "name" };
        sort.AcceptOnlyFromAmong("name", "uuid");
        var limit = Values.Limit("The most devices to list", int.MaxValue);
        var all = new Option<bool>("--all") { Description = "List all of them" };
        var command = verbs.Create(
            "list",
            "Lists devices.\n\nExample: gateway device list --tag site=oslo --offline --all",
            async invocation =>
            {
                var result = invocation.Result;
                var query = new List<string> { $"sort={result.GetValue(sort)}" };
                query.AddRange((result.GetValue(tags) ?? []).Select(static tag => $"tag={Uri.EscapeDataString(tag)}"));
                Add("name", result.GetValue(name));
                Add("uuid", result.GetValue(uuid));
                Add("online", result.GetValue(online) ? "true" : result.GetValue(offline) ? "false" : null);
                Add("enabled", result.GetValue(enabled) ? "true" : result.GetValue(disabled) ? "false" : null);

                var wanted = result.GetValue(all) ? int.MaxValue : result.GetValue(limit);
                var devices = new JsonArray();
                int total;
                string? cursor = null;
                do
                {
                    var path = $"api/v1/devices?{string.Join('&', query)}&limit={Math.Min(wanted - devices.Count, MaxPage)}{(cursor is null ? "" : $"&cursor={cursor}")}";
                    var page = (await invocation.Api.SendAsync(HttpMethod.Get, path, null, invocation.Cancellation))!;
                    (total, cursor) = ((int)page["total"]!, (string?)page["next"]);
                    foreach (var device in page["devices"]!.AsArray())
                    {
                        devices.Add(device!.DeepClone());
                    }
                }
                while (cursor is not null && devices.Count < wanted);

                return invocation.Print(new JsonObject { ["devices"] = devices, ["total"] = total, ["next"] = cursor }, () =>
                {
                    Table.Print(
                        ["UUID", "NAME", "ONLINE", "PUBLIC URL", "LAST SEEN", "TAGS"],
                        devices.Select(static device => device.Deserialize<DeviceDocument>(ApiClient.Json)!).Select(static device => new[]
                        {
                            device.Uuid, device.Name ?? "-", device.Online ? "yes" : "no", device.PublicUrl ? "enabled" : "disabled", Table.Time(device.LastSeen), Join(device.Tags),
                        }));
                    if (devices.Count < total)
                    {
                        Console.Error.WriteLine($"{devices.Count} of {total} devices; --all lists all of them.");
                    }
                });

                void Add(string key, string? value)
                {
                    if (!string.IsNullOrEmpty(value))
                    {
                        query.Add($"{key}={Uri.EscapeDataString(value)}");
                    }
                }
            },
            name, uuid, tags, online, offline, enabled, disabled, sort, limit, all);
        command.Validators.Add(result =>
        {
            if (result.Given(online, offline) == 2 || result.Given(enabled, disabled) == 2)
            {
                result.AddError("Of --online and --offline, and of --enabled and --disabled, give one.");
            }
        });
        return command;
    }

    private static Command Show(VerbFactory verbs)
    {
        var uuid = Values.Device();
        return verbs.Create(
            "show",
            "Shows a device: its record, its tunnels and its last requests.\n\nExample: gateway device show 7cf02a6",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                var device = (await invocation.Api.SendAsync(HttpMethod.Get, $"api/v1/devices/{id}", null, invocation.Cancellation))!;
                var status = (await invocation.Api.SendAsync(HttpMethod.Get, $"api/v1/devices/{id}/status", null, invocation.Cancellation))!;
                var keys = (await invocation.Api.SendAsync(HttpMethod.Get, $"api/v1/devices/{id}/keys", null, invocation.Cancellation))!;
                var whole = (JsonObject)device.DeepClone();
                whole["status"] = status.DeepClone();
                whole["keys"] = keys["keys"]!.DeepClone();
                return invocation.Print(whole, () => Print(
                    device.Deserialize<DeviceDocument>(ApiClient.Json)!, status.Deserialize<DeviceStatus>(ApiClient.Json)!, keys.Deserialize<KeyList>(ApiClient.Json)!));
            },
            uuid);

        static void Print(DeviceDocument device, DeviceStatus status, KeyList keys)
        {
            Table.PrintFields(
                ("uuid", device.Uuid), ("name", device.Name), ("tags", device.Tags.Count == 0 ? null : Join(device.Tags)),
                ("public URL", device.PublicUrl ? $"enabled, {device.Url}" : "disabled"), ("self-service", device.SelfService ? "yes" : null),
                ("created", Table.Time(device.Created)), ("online", status.Online ? "yes" : "no"), ("last seen", Table.Time(status.LastSeen)), ("agent", status.Agent),
                ("requests", $"{status.Requests}, of which {status.Failures} failed"), ("bytes", $"{status.BytesSent} to the device, {status.BytesReceived} from it"),
                ("keys", keys.Keys.Count == 0 ? "none" : string.Join(", ", keys.Keys.Select(static key => key.Fingerprint))));
            if (status.Tunnels.Count > 0)
            {
                Console.WriteLine();
                Table.Print(["TUNNEL ON", "SINCE", "FROM", "AGENT"], status.Tunnels.Select(static tunnel => new[] { tunnel.Node, Table.Time(tunnel.Since), tunnel.Address ?? "-", tunnel.Agent }));
            }

            if (status.RecentRequests.Count > 0)
            {
                Console.WriteLine();
                Table.Print(["AT", "REQUEST", "STATUS", "MS", "FAILURE"], status.RecentRequests.Take(10).Select(static request => new[]
                {
                    Table.Time(request.At), $"{request.Method} {request.Path}", $"{request.Status}", $"{request.Milliseconds}", request.Failure ?? "",
                }));
            }
        }
    }

    private static Command Update(VerbFactory verbs)
    {
        var uuid = Values.Device();
        var name = new Option<string?>("--name") { HelpName = "text", Description = "What people call the device; empty for no name" };
        var tags = Values.Tags("Sets a tag; may be given more than once");
        var untag = new Option<string[]>("--untag") { HelpName = "name", Description = "Removes a tag; may be given more than once" };
        var selfService = new Option<string?>("--self-service") { HelpName = "on|off", Description = "Whether the device may switch its public URL itself" };
        selfService.AcceptOnlyFromAmong("on", "off");
        var command = verbs.Create(
            "update",
            "Changes a device's name, tags and self-service.\n\nExample: gateway device update 7cf02a6 --name hall --tag site=oslo --untag kiosk",
            async invocation =>
            {
                var result = invocation.Result;
                var id = await invocation.Api.ResolveAsync(result.GetValue(uuid)!, invocation.Cancellation);
                var patch = new JsonObject();
                if (result.GetValue(name) is { } newName)
                {
                    patch["name"] = newName;
                }

                if (result.GetValue(selfService) is { } allowed)
                {
                    patch["selfService"] = allowed == "on";
                }

                if (result.GetValue(tags) is { Length: > 0 } || result.GetValue(untag) is { Length: > 0 })
                {
                    patch["tags"] = new JsonObject(
                        [.. Split(result.GetValue(tags))!.Select(static tag => KeyValuePair.Create(tag.Key, (JsonNode?)tag.Value)),
                         .. (result.GetValue(untag) ?? []).Select(static tag => KeyValuePair.Create(tag, (JsonNode?)null))]);
                }

                var answer = await invocation.Api.SendAsync(HttpMethod.Patch, $"api/v1/devices/{id}", patch, invocation.Cancellation);
                return invocation.Print<DeviceDocument>(answer, static device => Table.PrintFields(
                    ("uuid", device.Uuid), ("name", device.Name ?? "-"), ("tags", device.Tags.Count == 0 ? "-" : Join(device.Tags)), ("self-service", device.SelfService ? "on" : "off")));
            },
            uuid, name, tags, untag, selfService);
        command.Validators.Add(result =>
        {
            if (result.Given(name, tags, untag, selfService) == 0)
            {
                result.AddError("Say what to change: --name, --tag, --untag or --self-service.");
            }
        });
        return command;
    }

    private static Command Remove(VerbFactory verbs)
    {
        var uuid = Values.Device();
        var yes = new Option<bool>("--yes", "-y") { Description = "Do not ask" };
        return verbs.Create(
            "remove",
            "Deletes a device for good: its tunnels end at once, and its uuid is never given again.\n\nExample: gateway device remove 7cf02a69e4d34c9da573914963cf54fd --yes",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                if (!invocation.Result.GetValue(yes))
                {
                    if (Console.IsInputRedirected)
                    {
                        throw new CommandException(ExitCode.Usage, "nobody can be asked here: give --yes to delete the device.");
                    }

                    await Console.Error.WriteAsync($"Delete the device {id} for good? [y/N] ");
                    if (Console.ReadLine()?.Trim().ToUpperInvariant() is not ("Y" or "YES"))
                    {
                        throw new CommandException(ExitCode.Failure, "nothing was deleted.");
                    }
                }

                var answer = await invocation.Api.SendAsync(HttpMethod.Delete, $"api/v1/devices/{id}", null, invocation.Cancellation);
                return invocation.Print(answer, () => Console.WriteLine($"removed: {id}"));
            },
            uuid, yes);
    }

    private static Dictionary<string, string>? Split(string[]? tags)
    {
        var split = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var parts in (tags ?? []).Select(static tag => tag.Split('=', 2)))
        {
            split[parts[0]] = parts is [_, var value] ? value : "";
        }

        return split;
    }

    private static string Join(IReadOnlyDictionary<string, string> tags) => string.Join(", ", tags.Select(static tag => tag.Value.Length == 0 ? tag.Key : $"{tag.Key}={tag.Value}"));
}
