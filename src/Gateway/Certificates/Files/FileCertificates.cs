using System.Security.Cryptography;
using System.Text;
using Gateway.Listeners;
using Gateway.Listeners.Tls;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Files;

/// <summary>
/// Serves certificates that others leave as files. They are read again every <see cref="CertificateOptions.ReloadInterval"/>
/// and not watched: a mounted secret changes by a symbolic link two folders above, certbot's by one beside.
/// </summary>
internal sealed partial class FileCertificates(
    IOptions<CertificateOptions> options, IOptions<ListenerOptions> listen, ServedCertificates served, TlsProfile profile, TimeProvider time,
    ILogger<FileCertificates> logger) : BackgroundService
{
    private static readonly (string Certificate, string Key)[] Conventions = [("fullchain.pem", "privkey.pem"), ("tls.crt", "tls.key")];

    // certbot takes a file away before it puts the next one there: only what stays away is gone.
    private const int LooksUntilGone = 5;

    private readonly CertificateOptions _options = options.Value;

    // What was seen last of each pair: a hash, so that no key is kept as text.
    private readonly Dictionary<string, string> _seen = new(StringComparer.Ordinal);

    // How many looks in a row have not found a pair.
    private readonly Dictionary<string, int> _missing = new(StringComparer.Ordinal);

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (_options.Source != CertificateSource.Files || listen.Value.Https.Length == 0)
        {
            return Task.CompletedTask;
        }

        Load();
        return base.StartAsync(cancellationToken);
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            using var timer = new PeriodicTimer(_options.ReloadInterval, time);
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                Load();
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    private void Load()
    {
        var pairs = new List<(string Certificate, string Key)>();
        if (_options.File.Length > 0)
        {
            pairs.Add((Path.GetFullPath(_options.File), Path.GetFullPath(_options.KeyFile)));
        }

        try
        {
            pairs.AddRange(FindPairs(_options.Directory.Length == 0 ? "" : Path.GetFullPath(_options.Directory)));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            LogUnreadable(logger, _options.Directory, exception.Message);
            return;
        }

        for (var i = 0; i < pairs.Count; i++)
        {
            Load(pairs[i].Certificate, pairs[i].Key, isDefault: i == 0);
        }

        Forget(pairs.Select(static pair => pair.Certificate).ToHashSet(StringComparer.Ordinal));
    }

    private void Forget(HashSet<string> present)
    {
        foreach (var file in _seen.Keys.ToList())
        {
            _missing[file] = present.Contains(file) ? 0 : _missing.GetValueOrDefault(file) + 1;
            if (_missing[file] == LooksUntilGone)
            {
                _missing.Remove(file);
                _seen.Remove(file);
                served.Remove(file);
                LogRemoved(logger, file);
            }
        }
    }

    private static IEnumerable<(string Certificate, string Key)> FindPairs(string folder)
    {
        if (folder.Length == 0)
        {
            return [];
        }

        var below = Directory.EnumerateDirectories(folder)
            .SelectMany(static inner => Conventions.Select(pair => (Path.Combine(inner, pair.Certificate), Path.Combine(inner, pair.Key))));
        var here = Directory.EnumerateFiles(folder, "*.crt").Select(static file => (file, Path.ChangeExtension(file, ".key")));
        return below.Concat(here)
            .Where(static pair => File.Exists(pair.Item1) && File.Exists(pair.Item2))
            .OrderBy(static pair => pair.Item1, StringComparer.Ordinal);
    }

    private void Load(string file, string keyFile, bool isDefault)
    {
        string pem;
        string key;
        try
        {
            pem = File.ReadAllText(file);
            key = File.ReadAllText(keyFile);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            if (Remember(file, exception.Message))
            {
                LogUnusable(logger, file, keyFile, exception.Message);
            }

            return;
        }

        if (!Remember(file, Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(pem + key))) + isDefault))
        {
            return;
        }

        try
        {
            var certificate = ServedCertificate.FromPem(pem, key, profile);
            served.Put(file, certificate, isDefault);
            LogLoaded(logger, certificate.Title, certificate.Certificate.End, file);
        }
        catch (CryptographicException exception)
        {
            // Half of a pair, perhaps: the other half is awaited.
            LogUnusable(logger, file, keyFile, exception.Message);
        }
    }

    // True when it is news: a fault is said once and not every second.
    private bool Remember(string file, string state)
    {
        var isNew = !_seen.TryGetValue(file, out var seen) || seen != state;
        _seen[file] = state;
        return isNew;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Serving the certificate for {Names}, good until {NotAfter:u}, from {File}")]
    private static partial void LogLoaded(ILogger logger, string names, DateTimeOffset notAfter, string file);

    [LoggerMessage(Level = LogLevel.Error, Message = "The certificate {File} with the key {KeyFile} cannot be used, the one before it stays: {Reason}")]
    private static partial void LogUnusable(ILogger logger, string file, string keyFile, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Certificates:Directory {Directory} cannot be read, the certificates before stay: {Reason}")]
    private static partial void LogUnreadable(ILogger logger, string directory, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The certificate {File} is gone and is not served any more")]
    private static partial void LogRemoved(ILogger logger, string file);
}
