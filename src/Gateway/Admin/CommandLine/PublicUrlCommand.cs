using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Gateway.Admin.Api;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway public-url ...</c>: the switch, of one device or of many.</summary>
internal static class PublicUrlCommand
{
    public static Command Create(VerbFactory verbs)
    {
        var uuid = Values.Device();
        uuid.Arity = ArgumentArity.ZeroOrOne;
        var enable = new Option<bool>("--enable") { Description = "Let visitors reach the device" };
        var disable = new Option<bool>("--disable") { Description = "Turn visitors away; open connections end at once" };
        var status = new Option<bool>("--status") { Description = "Say which of the two it is" };
        var tag = new Option<string?>("--tag") { HelpName = "name[=value]", Description = "All devices with this tag, instead of one" };
        var all = new Option<bool>("--all") { Description = "All devices, instead of one" };
        var command = verbs.Create(
            "public-url",
            "Switches the public URL of a device, or of many.\n\nExamples: gateway public-url 7cf02a6 --enable\n          gateway public-url --tag site=oslo --disable",
            invocation =>
            {
                var result = invocation.Result;
                return result.GetValue(uuid) is null ? SwitchManyAsync(invocation, result.GetValue(enable), result.GetValue(tag))
                    : SwitchAsync(invocation, result.GetValue(uuid)!, result.GetValue(status) ? null : result.GetValue(enable));
            },
            uuid, enable, disable, status, tag, all);
        command.Validators.Add(result =>
        {
            if (result.Given(enable, disable, status) != 1)
            {
                result.AddError("Give one of --enable, --disable and --status.");
            }
            else if (result.Given(tag, all) + (result.GetResult(uuid) is { Tokens.Count: > 0 } ? 1 : 0) != 1)
            {
                result.AddError("Give a uuid, --tag or --all, and only one of them.");
            }
            else if (result.Given(tag, all) == 1 && result.Given(status) == 1)
            {
                result.AddError("--status is for one device; \"gateway device list --tag name=value\" shows many.");
            }
        });
        return command;
    }

    private static async Task<int> SwitchAsync(VerbFactory.Invocation invocation, string text, bool? enable)
    {
        var path = $"api/v1/devices/{await invocation.Api.ResolveAsync(text, invocation.Cancellation)}/public-url";
        var answer = enable is { } enabled
            ? await invocation.Api.SendAsync(HttpMethod.Put, path, new PublicUrlState(enabled), invocation.Cancellation)
            : await invocation.Api.SendAsync(HttpMethod.Get, path, null, invocation.Cancellation);
        return invocation.Print<PublicUrlDocument>(answer, static state => Console.WriteLine(state.Enabled ? $"enabled: {new Uri(state.Url).Host}" : "disabled"));
    }

    private static async Task<int> SwitchManyAsync(VerbFactory.Invocation invocation, bool enable, string? tag)
    {
        var body = new BulkPublicUrl { Enabled = enable, Tag = tag, All = tag is null ? true : null };
        BulkResult? last = null;
        try
        {
            await foreach (var progress in invocation.Api.StreamAsync<BulkResult>(HttpMethod.Put, "api/v1/public-url", body, invocation.Cancellation))
            {
                last = progress;
                Show($"{progress.Done} of {progress.Total} devices");
            }
        }
        catch (OperationCanceledException) when (last is not null)
        {
            Show($"Stopped after about {last.Done} of {last.Total} devices; the same again does the rest.", end: true);
            throw;
        }

        Show("", end: true);
        if (last is null)
        {
            throw new CommandException(ExitCode.Failure, "the gateway ended before it had begun; the same again does the rest.");
        }

        return invocation.Print(JsonSerializer.SerializeToNode(last, ApiClient.Json), () => Console.WriteLine(
            $"{(enable ? "enabled" : "disabled")}: {last.Changed} of {last.Total} devices{(last.Changed < last.Total ? "; the others were so already" : "")}"));
    }

    // People see one line that changes; a log gets a line each.
    private static void Show(string text, bool end = false)
    {
        if (Console.IsErrorRedirected)
        {
            if (text.Length > 0)
            {
                Console.Error.WriteLine(text);
            }
        }
        else
        {
            Console.Error.Write($"\r\e[K{text}{(end && text.Length > 0 ? "\n" : "")}");
        }
    }
}
