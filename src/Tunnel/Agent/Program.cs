using System.CommandLine;
using Microsoft.Extensions.Options;
using Tunnel.Agent;

var gateway = new Option<string>("--gateway", "-g") { HelpName = "url", Description = "The gateway's tunnel address, e.g. https://tunnel.resindevice.io [GATEWAY_URL]" };
var uuid = new Option<string>("--uuid", "-u") { HelpName = "hex", Description = "The device's uuid [GATEWAY_UUID, BALENA_DEVICE_UUID, RESIN_DEVICE_UUID]" };
var keyFile = new Option<string>("--key-file") { HelpName = "file", Description = "A file that holds the device's key [GATEWAY_KEY_FILE]" };
var key = new Option<string>("--key") { HelpName = "key", Description = "The key itself; everybody on the device can see it in the process list [GATEWAY_KEY, BALENA_API_KEY, RESIN_API_KEY]" };
var certificate = new Option<string>("--cert") { HelpName = "file", Description = "A PEM certificate that proves who the device is, in place of a key [GATEWAY_CERT]" };
var certificateKey = new Option<string>("--cert-key") { HelpName = "file", Description = "Its PEM key [GATEWAY_CERT_KEY]" };
var target = new Option<string>("--target", "-t") { HelpName = "url", Description = "Where the application listens [GATEWAY_TARGET; default http://127.0.0.1:80]" };
var insecure = new Option<bool>("--target-insecure") { Description = "Accept any certificate of an https application [GATEWAY_TARGET_INSECURE]" };
var ca = new Option<string>("--ca") { HelpName = "file", Description = "PEM certificates that the gateway's may come from, instead of the system's [GATEWAY_CA]" };
var connections = new Option<string>("--connections") { HelpName = "1-8", Description = "How many tunnels, to different nodes of the gateway where there are several; 1 where bytes are paid for [GATEWAY_CONNECTIONS; default 2]" };
var otlp = new Option<string>("--otlp") { HelpName = "url", Description = "Where spans of traced requests go, OTLP over HTTP [OTEL_EXPORTER_OTLP_ENDPOINT]" };
var config = new Option<string>("--config", "-c") { HelpName = "file", Description = "NAME=value lines with the variables above; flags and environment win [GATEWAY_CONFIG]" };

var command = new RootCommand("Keeps a tunnel to the device gateway and hands its visitors to the application on this device.\n\nProxies: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (http, socks4, socks4a, socks5).\nExit status: 0 stopped, 2 wrong usage, 78 wrong configuration.")
{
    gateway, uuid, keyFile, key, certificate, certificateKey, target, insecure, ca, connections, otlp, config,
};

command.SetAction(async (arguments, cancellationToken) =>
{
    string? Flag(string name) => name == "target-insecure"
        ? arguments.GetValue(insecure) ? "true" : null
        : arguments.GetResult($"--{name}") is System.CommandLine.Parsing.OptionResult result ? result.GetValueOrDefault<string>() : null;

    try
    {
        var settings = AgentSettings.Read(Flag, Environment.GetEnvironmentVariable);
        await using var app = AgentApplication.Build(settings);
        Console.WriteLine($"gateway-agent {AgentApplication.Version}: device {settings.Uuid}, application {settings.Target}");
        await app.RunAsync();
        Console.WriteLine("gateway-agent: stopped");
        return 0;
    }
    catch (Exception exception) when (exception is SettingsException or OptionsValidationException)
    {
        await Console.Error.WriteLineAsync($"gateway-agent: {exception.Message}");
        return AgentSettings.ExitConfiguration;
    }
});

var parsed = command.Parse(args);
var status = await parsed.InvokeAsync(new InvocationConfiguration { ProcessTerminationTimeout = null });
return parsed.Errors.Count > 0 ? 2 : status;
