// Many devices in one process, as cheap as they can be: each dials its tunnel over TLS, keeps it, and answers requests with its
// uuid. Arguments: the gateway's TLS port on loopback, the CA's PEM file, a file with a line "<uuid> <key>" for each device, a number
// below 200 that makes the source addresses of this process differ from another's. Commands on standard input:
//   dial N          dials the next N devices; says "up <tunnels> <seconds> <median bytes of a handshake's answer> <repeated dials>"
//   drop            ends all tunnels; says "down"
//   resume on|off   whether TLS sessions are resumed from now on (default on); says "resume"
// Ends when standard input does.
using System.Diagnostics;
using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using IdleTunnels;
using Tunnel.Protocol;

var port = int.Parse(args[0], CultureInfo.InvariantCulture);
var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true };
policy.CustomTrustStore.ImportFromPemFile(args[1]);
var devices = File.ReadAllLines(args[2]).Select(static line => line.Split(' ')).Select(static parts => (DeviceUuid.Parse(parts[0]), parts[1])).ToArray();
var dialer = new Dialer(port, policy, process: byte.Parse(args[3], CultureInfo.InvariantCulture));
var tunnels = new List<SslStream>();

while (await Console.In.ReadLineAsync() is { } line)
{
    switch (line.Split(' '))
    {
        case ["dial", var number]:
            var started = Stopwatch.GetTimestamp();
            var (first, count) = (tunnels.Count, int.Parse(number, CultureInfo.InvariantCulture));
            var dialled = await dialer.DialAsync(devices.AsMemory(first, count), first);
            tunnels.AddRange(dialled.Tunnels);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"up {tunnels.Count} {Stopwatch.GetElapsedTime(started).TotalSeconds:0.000} {dialled.HandshakeBytes} {dialled.Repeated}"));
            break;
        case ["drop"]:
            tunnels.ForEach(static tunnel => tunnel.Dispose());
            tunnels.Clear();
            Console.WriteLine("down");
            break;
        case ["resume", var onOrOff]:
            dialer.Resumes = onOrOff == "on";
            Console.WriteLine("resume");
            break;
        default:
            throw new InvalidOperationException($"There is no command \"{line}\".");
    }
}
