using System.Globalization;

namespace Bench.Machine;

/// <summary>What the figures depend on.</summary>
internal sealed record MachineFacts(string Cpu, int Cores, double MemoryGib, string Kernel, string Distribution)
{
    public static MachineFacts Read() => new(
        ValueOf("/proc/cpuinfo", "model name", ':') ?? "unknown",
        Environment.ProcessorCount,
        Math.Round(double.Parse((ValueOf("/proc/meminfo", "MemTotal", ':') ?? "0 kB").Split(' ')[0], CultureInfo.InvariantCulture) / 1024 / 1024, 1),
        File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
        ValueOf("/etc/os-release", "PRETTY_NAME", '=')?.Trim('"') ?? "unknown");

    private static string? ValueOf(string file, string key, char separator) =>
        File.ReadLines(file).FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal)) is { } line ? line[(line.IndexOf(separator, StringComparison.Ordinal) + 1)..].Trim() : null;
}
