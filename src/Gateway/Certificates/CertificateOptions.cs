using Gateway.Certificates.Acme;
using Gateway.Certificates.OnDemand;
using Gateway.Certificates.Shared;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

/// <summary>Who makes the certificates of the TLS listener.</summary>
internal enum CertificateSource
{
    /// <summary>Somebody else does, and leaves them as files: an operator, certbot, lego, cert-manager.</summary>
    Files,

    /// <summary>An ACME server does, asked by the gateway itself (RFC 8555).</summary>
    Acme,

    /// <summary>An authority of the gateway's own does. For development.</summary>
    SelfSigned,
}

/// <summary>Where the certificates of the TLS listener come from.</summary>
internal sealed class CertificateOptions
{
    public const string Section = "Certificates";

    /// <summary>Default <see cref="CertificateSource.Files"/>.</summary>
    public CertificateSource Source { get; set; } = CertificateSource.Files;

    /// <summary>A PEM certificate, its chain after it. Also what a client gets that names no host, or an unknown one.</summary>
    public string File { get; set; } = "";

    /// <summary>Its PEM key, not encrypted.</summary>
    public string KeyFile { get; set; } = "";

    /// <summary>
    /// A folder of further pairs: <c>name.crt</c> with <c>name.key</c> (lego), or a folder a name with <c>fullchain.pem</c> and
    /// <c>privkey.pem</c> (certbot) or <c>tls.crt</c> and <c>tls.key</c> (Kubernetes).
    /// </summary>
    public string Directory { get; set; } = "";

    /// <summary>How often the files are looked at for a change. Default 1 s.</summary>
    public TimeSpan ReloadInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// What private keys are encrypted with in Redis: base64 of 32 bytes. Of several, separated by blanks, the first encrypts
    /// and all decrypt.
    /// </summary>
    public string EncryptionKey { get; set; } = "";

    /// <summary>A file that holds it, or several, one a line.</summary>
    public string EncryptionKeyFile { get; set; } = "";

    /// <summary>How certificates are ordered.</summary>
    public AcmeOptions Acme { get; set; } = new();

    /// <summary>Certificates at first use.</summary>
    public OnDemandOptions OnDemand { get; set; } = new();

    /// <summary>Whether anything is ordered from an ACME server.</summary>
    internal bool UsesAcme => Source == CertificateSource.Acme || (OnDemand.Enabled && Source == CertificateSource.Files);

    internal sealed class Validator(IConfiguration configuration) : IValidateOptions<CertificateOptions>
    {
        public ValidateOptionsResult Validate(string? name, CertificateOptions options)
        {
            var (listener, https) = configuration["Listen:Https"] is { Length: > 0 } visitors ? ("Listen:Https", visitors) : ("Listen:AdminHttps", configuration["Listen:AdminHttps"]);
            if (string.IsNullOrEmpty(https))
            {
                return ValidateOptionsResult.Success;
            }

            var failure = ExplainFiles(options, listener, https)
                ?? (options.UsesAcme ? AcmeOptions.Explain(options.Acme) ?? ExplainEncryption(options) : null)
                ?? (options.OnDemand.Enabled ? OnDemandOptions.Explain(options.OnDemand) : null);
            if (failure is not null)
            {
                return ValidateOptionsResult.Fail(failure);
            }

            return options.ReloadInterval < TimeSpan.FromMilliseconds(100) || options.ReloadInterval > TimeSpan.FromDays(1)
                ? ValidateOptionsResult.Fail($"{Section}:ReloadInterval is {options.ReloadInterval}: give 00:00:00.100 to 1.00:00:00.")
                : ValidateOptionsResult.Success;
        }

        private static string? ExplainFiles(CertificateOptions options, string listener, string https)
        {
            if (options.Source != CertificateSource.Files)
            {
                return options.File.Length + options.KeyFile.Length + options.Directory.Length == 0
                    ? null
                    : $"{Section}:Source is {options.Source}, and files are given as well: remove {Section}:File, :KeyFile and :Directory, or set {Section}:Source to Files.";
            }

            if (options.Directory.Length > 0 && !System.IO.Directory.Exists(options.Directory))
            {
                return $"{Section}:Directory is \"{options.Directory}\": there is no such folder, or it may not be read.";
            }

            if (options.Directory.Length > 0 && options.File.Length + options.KeyFile.Length == 0)
            {
                return null;
            }

            foreach (var (key, path) in new[] { ("File", options.File), ("KeyFile", options.KeyFile) })
            {
                if (path.Length == 0)
                {
                    return $"{Section}:{key} is missing, and {listener} is \"{https}\": give a PEM file, set {Section}:Source to Acme or SelfSigned, or leave {listener} empty.";
                }

                if (!System.IO.File.Exists(path))
                {
                    return $"{Section}:{key} is \"{path}\": there is no such file, or it may not be read.";
                }
            }

            return null;
        }

        private string? ExplainEncryption(CertificateOptions options)
        {
            if (options.EncryptionKey.Length > 0 && options.EncryptionKeyFile.Length > 0)
            {
                return $"{Section}:EncryptionKey and {Section}:EncryptionKeyFile are both given: remove one.";
            }

            if (options.EncryptionKeyFile.Length > 0 && !System.IO.File.Exists(options.EncryptionKeyFile))
            {
                return $"{Section}:EncryptionKeyFile is \"{options.EncryptionKeyFile}\": there is no such file, or it may not be read.";
            }

            var given = options.EncryptionKey.Length > 0 ? options.EncryptionKey
                : options.EncryptionKeyFile.Length > 0 ? System.IO.File.ReadAllText(options.EncryptionKeyFile) : null;
            if (given is null)
            {
                // The embedded store is a folder of this machine, and a key file can lie beside it.
                return string.IsNullOrEmpty(configuration["Storage:Redis"])
                    ? null
                    : $"{Section}:EncryptionKey is missing: private keys are kept in Redis, and only encrypted. Give base64 of 32 bytes, the same on every node: \"gateway certificate new-encryption-key\" makes one.";
            }

            // The message does not repeat a secret.
            return KeyProtector.AreKeys(given)
                ? null
                : $"{Section}:EncryptionKey (or its file) is no base64 of 32 bytes, or several of them separated by blanks: \"gateway certificate new-encryption-key\" makes one.";
        }
    }
}
