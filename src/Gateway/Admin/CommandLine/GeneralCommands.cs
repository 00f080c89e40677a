using System.CommandLine;
using Gateway.Admin.Api;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway audit</c>, <c>gateway status</c>, <c>gateway completion</c>.</summary>
internal static class GeneralCommands
{
    public static Command CreateAudit(VerbFactory verbs)
    {
        var device = new Option<string?>("--device") { HelpName = "uuid", Description = "Only of this device" };
        var actor = new Option<string?>("--actor") { HelpName = "name", Description = "Only by tokens of this name or id" };
        var action = new Option<string?>("--action") { HelpName = "name", Description = "Only this action, e.g. device.update" };
        var limit = Values.Limit("The most entries", 1000);
        return verbs.Create(
            "audit",
            "Tells who changed what, the newest first.\n\nExample: gateway audit --device 7cf02a69e4d34c9da573914963cf54fd",
            async invocation =>
            {
                var result = invocation.Result;
                var query = new List<string> { $"limit={result.GetValue(limit)}" };
                if (result.GetValue(device) is { } uuid)
                {
                    query.Add($"device={await invocation.Api.ResolveAsync(uuid, invocation.Cancellation)}");
                }

                query.AddRange(from pair in new[] { ("actor", result.GetValue(actor)), ("action", result.GetValue(action)) } where pair.Item2 is not null select $"{pair.Item1}={Uri.EscapeDataString(pair.Item2)}");
                var answer = await invocation.Api.SendAsync(HttpMethod.Get, $"api/v1/audit?{string.Join('&', query)}", null, invocation.Cancellation);
                return invocation.Print<AuditPage>(answer, static page => Table.Print(
                    ["AT", "BY", "FROM", "ACTION", "ON", "BEFORE", "AFTER"],
                    page.Entries.Select(static entry => new[]
                    {
                        Table.Time(entry.At), entry.Actor.Name, entry.Actor.From, entry.Action, entry.Subject ?? "-", Text(entry.Before), Text(entry.After),
                    })));
            },
            device, actor, action, limit);
    }

    private static readonly System.Text.Json.JsonSerializerOptions Readable = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static string Text(System.Text.Json.Nodes.JsonNode? node) => node?.ToJsonString(Readable) ?? "-";

    public static Command CreateStatus(VerbFactory verbs) => verbs.Create(
        "status",
        "Tells how the gateway is.\n\nExample: gateway status --server https://admin.example.com",
        static async invocation => invocation.Print<GatewayStatus>(await invocation.Api.SendAsync(HttpMethod.Get, "api/v1/status", null, invocation.Cancellation), static status => Table.PrintFields(
            ("version", status.Version), ("node", status.Node), ("devices", $"{status.Devices}{(status.Complete ? "" : " so far")}"), ("online", $"{status.Online}"))));

    public static Command CreateCompletion()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish" };
        shell.AcceptOnlyFromAmong("bash", "zsh", "fish");
        var command = new ExplainedCommand("completion", "Prints a script that completes gateway's verbs and options.", "Example: source <(gateway completion bash)") { shell };
        command.SetAction(result => Console.WriteLine(result.GetValue(shell) switch
        {
            "bash" => """
                _gateway() {
                  local IFS=$'\n'
                  COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "[suggest:$COMP_POINT]" "$COMP_LINE" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
                }
                complete -F _gateway gateway
                """,
            "zsh" => """
                #compdef gateway
                _gateway() {
                  local -a suggestions
                  suggestions=("${(@f)$(gateway "[suggest:$CURSOR]" "$BUFFER" 2>/dev/null)}")
                  compadd -- $suggestions
                }
                compdef _gateway gateway
                """,
            _ => """
                complete -c gateway -f -a '(gateway "[suggest:"(commandline -C)"]" (commandline) 2>/dev/null)'
                """,
        }));
        return command;
    }
}
