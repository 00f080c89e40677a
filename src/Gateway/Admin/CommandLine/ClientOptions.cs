using Microsoft.Extensions.Options;

namespace Gateway.Admin.CommandLine;

/// <summary>Which gateway the verbs of the command line speak to.</summary>
internal sealed class ClientOptions
{
    public const string Section = "Client";

    /// <summary>The admin address of a gateway, e.g. <c>https://admin.example.com</c>. Default empty: the verbs work on the store itself.</summary>
    public string Server { get; set; } = "";

    /// <summary>An operator's token for it. Default empty.</summary>
    public string Token { get; set; } = "";

    /// <summary>PEM certificates of the authorities that the gateway's certificate may come from. Default empty: the system's.</summary>
    public string CaFile { get; set; } = "";

    internal sealed class Validator : IValidateOptions<ClientOptions>
    {
        public ValidateOptionsResult Validate(string? name, ClientOptions options)
        {
            if (options.Server.Length == 0)
            {
                return ValidateOptionsResult.Success;
            }

            if (!Uri.TryCreate(options.Server, UriKind.Absolute, out var server) || server.Scheme is not ("http" or "https"))
            {
                return ValidateOptionsResult.Fail($"--server ({Section}:Server) is \"{options.Server}\": give the gateway's admin address, e.g. \"https://admin.example.com\".");
            }

            if (options.Token.Length == 0)
            {
                return ValidateOptionsResult.Fail($"There is a --server ({Section}:Server), but no token: give GATEWAY_TOKEN, --token or {Section}:Token.");
            }

            return options.CaFile.Length > 0 && !File.Exists(options.CaFile)
                ? ValidateOptionsResult.Fail($"{Section}:CaFile is \"{options.CaFile}\": there is no such file, or it may not be read.")
                : ValidateOptionsResult.Success;
        }
    }
}
