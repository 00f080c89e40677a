using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Logging;

namespace Tunnel.Agent;

/// <summary>The certificate that proves who the device is, from its files, which whatever renews it may replace at any time.</summary>
internal sealed partial class CertificateFiles
{
    private readonly string _path;
    private readonly string _keyPath;
    private (DateTime, DateTime) _readAt;
    private X509Certificate2 _last;

    /// <summary>Reads the files.</summary>
    /// <exception cref="SettingsException">They are no certificate and its key.</exception>
    public CertificateFiles(string path, string keyPath)
    {
        (_path, _keyPath) = (path, keyPath);
        _readAt = WrittenAt();
        _last = Read();
    }

    /// <summary>
    /// The certificate as it is now. While one of the two files is new and the other is not, or they cannot be read, the one
    /// before stays in use. Not to be called concurrently.
    /// </summary>
    public X509Certificate2 Current(ILogger logger)
    {
        var writtenAt = WrittenAt();
        if (writtenAt != _readAt)
        {
            try
            {
                _last = Read();
                _readAt = writtenAt;
                var until = _last.NotAfter.ToUniversalTime();
                LogRenewed(logger, _path, until);
            }
            catch (SettingsException exception)
            {
                LogKept(logger, exception.Message);
            }
        }

        return _last;
    }

    private (DateTime, DateTime) WrittenAt() => (File.GetLastWriteTimeUtc(_path), File.GetLastWriteTimeUtc(_keyPath));

    private X509Certificate2 Read()
    {
        try
        {
            using var pair = X509Certificate2.CreateFromPem(AgentSettings.ReadText(_path, "--cert (GATEWAY_CERT)"), AgentSettings.ReadText(_keyPath, "--cert-key (GATEWAY_CERT_KEY)"));

            // The detour over PKCS #12 gives a key that the TLS library can use on every platform.
            return X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pfx), null);
        }
        catch (Exception exception) when (exception is CryptographicException or ArgumentException)
        {
            throw new SettingsException($"--cert (GATEWAY_CERT): {_path} and {_keyPath} are no certificate and its key: {exception.Message}");
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "The certificate in {Path} is a new one, good until {NotAfter:u}")]
    private static partial void LogRenewed(ILogger logger, string path, DateTime notAfter);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The certificate before stays in use: {Reason}")]
    private static partial void LogKept(ILogger logger, string reason);
}
