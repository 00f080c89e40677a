using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.CommandLine;

/// <summary>What the verbs that speak to the API have in common: which gateway, as whom, and for whom the output is.</summary>
internal sealed class VerbFactory
{
    private const int Interrupted = 130;

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private readonly Action<ParseResult, IConfigurationManager> _configure;

    public VerbFactory(Action<ParseResult, IConfigurationManager> configure) => _configure = configure;

    public Option<string?> Server { get; } = new("--server") { HelpName = "url", Description = "The gateway's admin address [GATEWAY_SERVER; default: work on the store itself]", Recursive = true };

    public Option<string?> Token { get; } = new("--token") { HelpName = "token", Description = "An operator's token [GATEWAY_TOKEN, which other users do not see in the process list]", Recursive = true };

    public Option<bool> Json { get; } = new("--json") { Description = "JSON, as the API has it, for programs", Recursive = true };

    /// <summary>Says what a verb does.</summary>
    public Command Create(string name, string description, Func<Invocation, Task<int>> act, params IEnumerable<Symbol> symbols)
    {
        // What follows the first paragraph is for the verb's own help, and not for the list of verbs.
        var parts = description.Split("\n\n", 2);
        var command = new ExplainedCommand(name, parts[0], parts is [_, var examples] ? examples : "");
        foreach (var symbol in symbols)
        {
            switch (symbol)
            {
                case Argument argument:
                    command.Arguments.Add(argument);
                    break;
                case Option option:
                    command.Options.Add(option);
                    break;
                default:
                    command.Subcommands.Add((Command)symbol);
                    break;
            }
        }

        command.SetAction((result, _) => RunAsync(result, act));
        return command;
    }

    private async Task<int> RunAsync(ParseResult result, Func<Invocation, Task<int>> act)
    {
        using var stop = new CancellationTokenSource();
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        void Stop(PosixSignalContext signal)
        {
            signal.Cancel = true;
            stop.Cancel();
        }

        try
        {
            var client = ReadClient(result);
            if (client.Server.Length > 0)
            {
                using var remote = ApiClient.At(client);
                return await act(new Invocation(result, remote, result.GetValue(Json), stop.Token));
            }

            await using var local = await LocalApi.StartAsync(manager => _configure(result, manager));
            return await act(new Invocation(result, local.Client, result.GetValue(Json), stop.Token));
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            await Console.Error.WriteLineAsync("gateway: stopped.");
            return Interrupted;
        }
    }

    // The flag wins over the short variable, this over the file.
    private ClientOptions ReadClient(ParseResult result)
    {
        var configuration = new ConfigurationManager();
        _configure(result, configuration);
        var options = configuration.GetSection(ClientOptions.Section).Get<ClientOptions>() ?? new ClientOptions();
        options.Server = result.GetValue(Server) ?? Variable("GATEWAY_SERVER") ?? options.Server;
        options.Token = result.GetValue(Token) ?? Variable("GATEWAY_TOKEN") ?? options.Token;
        return new ClientOptions.Validator().Validate(null, options) is { Failed: true } invalid
            ? throw new OptionsValidationException(ClientOptions.Section, typeof(ClientOptions), invalid.Failures) : options;

        static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
    }

    /// <summary>One run of a verb.</summary>
    internal sealed record Invocation(ParseResult Result, ApiClient Api, bool AsJson, CancellationToken Cancellation)
    {
        /// <summary>Prints an answer: as it is for programs, or in people's words.</summary>
        public int Print(JsonNode? answer, Action human)
        {
            if (AsJson)
            {
                Console.WriteLine(answer?.ToJsonString(Indented) ?? "{}");
            }
            else
            {
                human();
            }

            return ExitCode.Ok;
        }

        public int Print<T>(JsonNode? answer, Action<T> human) => Print(answer, () => human(answer.Deserialize<T>(ApiClient.Json)!));
    }
}
