using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

/// <summary>
/// The certificate of each TLS handshake. A changed pair of files is taken for the next handshake; open connections stay.
/// </summary>
internal sealed partial class CertificateSelector(IOptions<CertificateOptions> options, TimeProvider time, ILogger<CertificateSelector> logger) : BackgroundService
{
    private static readonly List<SslApplicationProtocol> Alpn = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11];

    private readonly CertificateOptions _options = options.Value;
    private SslServerAuthenticationOptions? _tls;
    private string _loaded = "";   // a hash: the key itself is not kept as text

    /// <summary>Whether there is one to serve.</summary>
    public bool HasCertificate => _tls is not null;

    /// <summary>Answers a handshake.</summary>
    /// <exception cref="InvalidOperationException">No certificate could be loaded yet; the handshake fails.</exception>
    public ValueTask<SslServerAuthenticationOptions> SelectAsync(TlsHandshakeCallbackContext context) =>
        ValueTask.FromResult(_tls ?? throw new InvalidOperationException("There is no certificate yet."));

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (_options.File.Length == 0)
        {
            return Task.CompletedTask;
        }

        TryLoad();
        return base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            using var timer = new PeriodicTimer(_options.ReloadInterval, time);
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                TryLoad();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    private void TryLoad()
    {
        try
        {
            var pem = File.ReadAllText(_options.File);
            var key = File.ReadAllText(_options.KeyFile);
            var hash = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(pem + key)));
            if (hash == _loaded)
            {
                return;
            }

            using var pair = X509Certificate2.CreateFromPem(pem, key);
            var chain = new X509Certificate2Collection();
            chain.ImportFromPem(pem);

            // The detour over PKCS #12 gives a key that the TLS library can use on every platform.
            var certificate = X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pfx), null);
            _tls = new SslServerAuthenticationOptions
            {
                ServerCertificateContext = SslStreamCertificateContext.Create(certificate, chain, offline: true),
                ApplicationProtocols = Alpn,
            };
            _loaded = hash;
            LogLoaded(logger, certificate.Subject, certificate.NotAfter);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
        {
            LogUnusable(logger, _options.File, _options.KeyFile, exception.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Serving the certificate {Subject}, good until {NotAfter:u}")]
    private static partial void LogLoaded(ILogger logger, string subject, DateTime notAfter);

    [LoggerMessage(Level = LogLevel.Error, Message = "The certificate {File} with the key {KeyFile} cannot be used, the one before it stays: {Reason}")]
    private static partial void LogUnusable(ILogger logger, string file, string keyFile, string reason);
}
