using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

/// <summary>Where the certificates of the TLS listener come from.</summary>
internal sealed class CertificateOptions
{
    public const string Section = "Certificates";

    /// <summary>A PEM certificate, its chain after it.</summary>
    public string File { get; set; } = "";

    /// <summary>Its PEM key, not encrypted.</summary>
    public string KeyFile { get; set; } = "";

    /// <summary>How often the files are looked at for a change. Default 10 s.</summary>
    public TimeSpan ReloadInterval { get; set; } = TimeSpan.FromSeconds(10);

    internal sealed class Validator(IConfiguration configuration) : IValidateOptions<CertificateOptions>
    {
        public ValidateOptionsResult Validate(string? name, CertificateOptions options)
        {
            var (listener, https) = configuration["Listen:Https"] is { Length: > 0 } visitors ? ("Listen:Https", visitors) : ("Listen:AdminHttps", configuration["Listen:AdminHttps"]);
            if (string.IsNullOrEmpty(https))
            {
                return ValidateOptionsResult.Success;
            }

            foreach (var (key, path) in new[] { ("File", options.File), ("KeyFile", options.KeyFile) })
            {
                if (path.Length == 0)
                {
                    return ValidateOptionsResult.Fail($"{Section}:{key} is missing, and {listener} is \"{https}\": give a PEM file, or leave {listener} empty.");
                }

                if (!System.IO.File.Exists(path))
                {
                    return ValidateOptionsResult.Fail($"{Section}:{key} is \"{path}\": there is no such file, or it may not be read.");
                }
            }

            return options.ReloadInterval < TimeSpan.FromSeconds(1)
                ? ValidateOptionsResult.Fail($"{Section}:ReloadInterval is {options.ReloadInterval}: give at least 00:00:01.")
                : ValidateOptionsResult.Success;
        }
    }
}
