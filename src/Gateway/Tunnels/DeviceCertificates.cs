using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Gateway.Devices;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;

namespace Gateway.Tunnels;

/// <summary>
/// Mutual TLS: a device may prove who it is by a certificate of the operator's own authority, in place of its key. Its subject's
/// common name, or one of its DNS names, is the device's uuid. The files of the authorities and of what they have revoked are
/// read again every second; a certificate that is revoked ends the tunnels that it has opened.
/// </summary>
internal sealed partial class DeviceCertificates(IOptions<TunnelOptions> options, TimeProvider time, ILogger<DeviceCertificates> logger) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly TunnelOptions _options = options.Value;
    private readonly ConcurrentDictionary<Watch, byte> _watches = new();
    private DeviceAuthorities _authorities = DeviceAuthorities.Read(options.Value);
    private DeviceAuthorities? _outdated;
    private string? _complaint;

    /// <summary>Whether devices are asked for one.</summary>
    public bool AreAccepted => _options.ClientCaFile.Length > 0;

    /// <summary>Whether a certificate proves that its owner is the device; null when it does not.</summary>
    /// <param name="certificate">What was shown in the handshake, where its key was proven; null for nothing.</param>
    /// <param name="uuid">Who the owner says to be.</param>
    public CertificateProof? Prove(X509Certificate2? certificate, DeviceUuid uuid)
    {
        if (certificate is null || !AreAccepted || !Names(certificate).Contains(uuid.ToString(), StringComparer.OrdinalIgnoreCase))
        {
            return null;
        }

        var authorities = Volatile.Read(ref _authorities);
        if (authorities.Prove(certificate, time.GetUtcNow()) is not { } proof)
        {
            return null;
        }

        if (authorities.IsRevoked(proof))
        {
            LogRevoked(logger, uuid, certificate.SerialNumber);
            return null;
        }

        return proof;
    }

    /// <summary>Watches what a tunnel was opened by, until the watch is disposed of.</summary>
    public Watch StartWatch(CertificateProof proof)
    {
        var watch = new Watch(this, proof);
        _watches[watch] = 0;

        // It may have been revoked since it was checked.
        EndIfUnproven(watch);
        return watch;
    }

    public override Task StartAsync(CancellationToken cancellationToken) => AreAccepted ? base.StartAsync(cancellationToken) : Task.CompletedTask;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            using var timer = new PeriodicTimer(Interval, time);
            do
            {
                Look();
            }
            while (await timer.WaitForNextTickAsync(stoppingToken));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The gateway stops.
        }
    }

    private void Look()
    {
        try
        {
            var before = _authorities;
            var now = DeviceAuthorities.Read(_options, before);
            _complaint = null;
            if (now != before)
            {
                Volatile.Write(ref _authorities, now);
                LogRead(logger, now.Count, now.RevokedCount);
                foreach (var (watch, _) in _watches)
                {
                    EndIfUnproven(watch);
                }
            }
        }
        catch (CryptographicException exception)
        {
            // Half written, perhaps. It is said once and not every second.
            if (_complaint != exception.Message)
            {
                _complaint = exception.Message;
                LogUnusable(logger, exception.Message);
            }
        }

        if (_authorities.NextUpdate is { } nextUpdate && nextUpdate < time.GetUtcNow() && _outdated != _authorities)
        {
            _outdated = _authorities;
            LogOutdated(logger, _options.ClientCrlFile, nextUpdate);
        }
    }

    private void EndIfUnproven(Watch watch)
    {
        var authorities = Volatile.Read(ref _authorities);
        if (authorities.IsRevoked(watch.Proof) || !authorities.IsTrusted(watch.Proof))
        {
            watch.End();
        }
    }

    private static IEnumerable<string> Names(X509Certificate2 certificate) =>
        (certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().FirstOrDefault()?.EnumerateDnsNames() ?? [])
            .Append(certificate.GetNameInfo(X509NameType.SimpleName, forIssuer: false));

    /// <summary>A tunnel's interest in the certificate that opened it.</summary>
    public sealed class Watch(DeviceCertificates certificates, CertificateProof proof) : ProofWatch
    {
        public CertificateProof Proof => proof;

        public override void Dispose() => certificates._watches.TryRemove(this, out _);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A device showed a certificate of {Uuid} that is revoked (serial number {Serial}); it is refused")]
    private static partial void LogRevoked(ILogger logger, DeviceUuid uuid, string serial);

    [LoggerMessage(Level = LogLevel.Information, Message = "Devices' certificates: {Authorities} authorities, {Revoked} revoked certificates")]
    private static partial void LogRead(ILogger logger, int authorities, int revoked);

    [LoggerMessage(Level = LogLevel.Error, Message = "What was read before of the devices' authorities stays in use: {Reason}")]
    private static partial void LogUnusable(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "The revocation list {File} should have been replaced at {NextUpdate:u}; it stays in use, and what was revoked since is not known here")]
    private static partial void LogOutdated(ILogger logger, string file, DateTimeOffset nextUpdate);
}
