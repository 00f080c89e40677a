using System.CommandLine;
using System.CommandLine.Parsing;
using Gateway.Limits;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Admin.CommandLine;

/// <summary>The command line: <c>gateway [run]</c>, and the verbs of operators.</summary>
internal static class GatewayCommand
{
    /// <summary>Runs a command line; the result is the exit status (<see cref="ExitCode"/>).</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        var parsed = Create().Parse(args);
        try
        {
            // The host handles signals itself: a stop waits for the requests in flight.
            var status = await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null });
            return parsed.Errors.Count > 0 ? ExitCode.Usage : status;
        }
        catch (Exception exception) when (Explain(exception) is var (status, lines))
        {
            foreach (var line in lines)
            {
                await Console.Error.WriteLineAsync($"gateway: {line}");
            }

            return status;
        }
    }

    /// <summary>All verbs.</summary>
    public static RootCommand Create()
    {
        var config = new Option<FileInfo?>("--config", "-c") { HelpName = "file", Description = "JSON configuration [GATEWAY_CONFIG; default gateway.json, if it is there]", Recursive = true };
        var set = new Option<string[]>("--set", "-s")
        {
            HelpName = "key=value", Description = "One setting, e.g. --set Edge:Domains:0=resindevice.io; wins over file and environment", Recursive = true, AllowMultipleArgumentsPerToken = false,
        };
        set.Validators.Add(static result =>
        {
            foreach (var token in result.Tokens)
            {
                if (token.Value.IndexOf('=', StringComparison.Ordinal) <= 0)
                {
                    result.AddError($"--set {token.Value}: give key=value, e.g. Edge:Domains:0=resindevice.io.");
                }
            }
        });
        void Configure(ParseResult result, IConfigurationManager configuration) => GatewayConfiguration.Add(configuration, result.GetValue(config)?.FullName, result.GetValue(set) ?? []);

        var verbs = new VerbFactory(Configure);

        var run = new Command("run", "Runs the gateway until SIGTERM or Ctrl-C (the default).");
        run.SetAction((result, cancellationToken) => RunGatewayAsync(manager => Configure(result, manager)));

        var root = new RootCommand(
            "Public URLs for devices behind NAT.\n\n" +
            "Settings: docs/configuration.md; as environment variables GATEWAY_Edge__Domains__0=resindevice.io.\n" +
            "The verbs work on the store itself, whether a gateway runs or not; with --server, on a gateway's API.\n" +
            "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 69 store, gateway or address unavailable, 77 token refused, 78 wrong configuration.")
        {
            run,
            DeviceCommands.Create(verbs),
            PublicUrlCommand.Create(verbs),
            TokenCommands.Create(verbs),
            CertificateCommands.Create(Configure),
            NodeCommands.Create(Configure),
            GeneralCommands.CreateAudit(verbs),
            GeneralCommands.CreateStatus(verbs),
            HealthCommand.Create(),
            GeneralCommands.CreateCompletion(),
            config,
            set,
            verbs.Server,
            verbs.Token,
            verbs.Json,
        };
        HelpWithExamples.Use(root);
        root.SetAction((result, cancellationToken) => RunGatewayAsync(manager => Configure(result, manager)));
        return root;
    }

    private static async Task<int> RunGatewayAsync(Action<IConfigurationManager> configure)
    {
        NativeArenas.Limit();
        PoolThreads.Raise();
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        configure(builder.Configuration);
        await using var app = Program.Build(builder);
        app.Services.GetRequiredService<IStartupValidator>().Validate();
        var store = app.Services.GetRequiredService<RedisConnection>().FirstConnected;
        var background = app.Services.GetServices<IHostedService>().OfType<BackgroundService>().ToList();
        using var reload = ConfigurationReload.OnHangup(app, configure);
        await app.RunAsync();

        // A fault of the program's own in the background has stopped it: it is thrown on, and not taken for a clean end.
        if (background.Find(static service => service.ExecuteTask is { IsFaulted: true }) is { } faulted)
        {
            await faulted.ExecuteTask!;
        }

        // A gateway that ended because it has no store says so by its status.
        return store.IsFaulted ? throw store.Exception.InnerException! : ExitCode.Ok;
    }

    /// <summary>Turns what can go wrong outside of the program into a status and a line each; null for the program's own faults.</summary>
    private static (int Status, IEnumerable<string> Lines)? Explain(Exception exception) => exception switch
    {
        OptionsValidationException invalid => (ExitCode.Configuration, invalid.Failures),
        ConfigurationException wrong => (ExitCode.Configuration, [wrong.Message]),
        CommandException refused => (refused.Status, [refused.Message]),
        StoreUnavailableException unavailable => (ExitCode.Unavailable, [unavailable.Message]),
        IOException { InnerException: Microsoft.AspNetCore.Connections.AddressInUseException } inUse => (ExitCode.Unavailable, [inUse.Message]),
        System.Net.Sockets.SocketException socket => (ExitCode.Unavailable, [$"An address to listen on cannot be had: {socket.Message}."]),
        InvalidOperationException { Message: var message } conversion when message.StartsWith("Failed to convert configuration value", StringComparison.Ordinal) =>
            (ExitCode.Configuration, [$"{message.TrimEnd('.')}: {conversion.InnerException?.Message ?? "give a value of that type."}"]),
        _ => null,
    };
}
