using System.Security.Cryptography;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Certificates;

/// <summary>An authority for devices' certificates, with the files that a gateway is told of.</summary>
internal sealed class DeviceAuthority : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-mtls-");

    public DeviceAuthority()
    {
        (CaFile, CrlFile) = (Path.Combine(_folder.FullName, "devices.pem"), Path.Combine(_folder.FullName, "devices.crl"));
        File.WriteAllText(CaFile, Pki.Root.ExportCertificatePem());
    }

    public TestPki Pki { get; } = new();

    public string CaFile { get; }

    public string CrlFile { get; }

    /// <summary>Puts a list, or whatever it is, into the place of the one before.</summary>
    public void Publish(string list)
    {
        var half = $"{CrlFile}.{RandomNumberGenerator.GetHexString(8)}";
        File.WriteAllText(half, list);
        File.Move(half, CrlFile, overwrite: true);
    }

    /// <summary>Writes the files of a certificate, or new contents into them.</summary>
    /// <returns>Where they are.</returns>
    public (string File, string KeyFile) Write(string name, (string Certificate, string Key) pair)
    {
        var (file, keyFile) = (Path.Combine(_folder.FullName, $"{name}.crt"), Path.Combine(_folder.FullName, $"{name}.key"));
        File.WriteAllText(file, pair.Certificate);
        File.WriteAllText(keyFile, pair.Key);
        return (file, keyFile);
    }

    /// <summary>Starts a device's agent that shows a certificate; its files are named after <paramref name="name"/>.</summary>
    public ChildProcess StartAgent(TestGateway gateway, TestDevice device, (string Certificate, string Key) pair, Uri target, string? name = null)
    {
        var (file, keyFile) = Write(name ?? $"{Guid.NewGuid():N}", pair);
        return ChildProcess.StartOwn(
            "gateway-agent",
            [
                "--gateway", $"https://tunnel.{TestGateway.Domain}:{gateway.HttpsPort}", "--uuid", $"{device.Uuid}", "--cert", file, "--cert-key", keyFile,
                "--ca", TestCertificates.Shared.AuthorityFile, "--target", target.ToString(),
            ]);
    }

    public void Dispose()
    {
        Pki.Dispose();
        _folder.Delete(recursive: true);
    }
}
