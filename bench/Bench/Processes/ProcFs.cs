using System.Globalization;

namespace Bench.Processes;

/// <summary>What the kernel says about processes in /proc.</summary>
internal static class ProcFs
{
    /// <summary>The unit of times in /proc/PID/stat: USER_HZ, 100 on every architecture that .NET runs on.</summary>
    private const long MicrosecondsPerTick = 10_000;

    /// <summary>Processor time, user and system, that processes and all their descendants have used so far, in microseconds.</summary>
    public static long CpuMicroseconds(IEnumerable<int> roots)
    {
        var all = ReadAll();
        return Tree(all, roots).Sum(pid => all[pid].Ticks) * MicrosecondsPerTick;
    }

    /// <summary>Processes and all their descendants that live.</summary>
    public static IReadOnlyList<int> Tree(IEnumerable<int> roots) => [.. Tree(ReadAll(), roots)];

    /// <summary>Memory of a process in RAM, in KB (VmRSS).</summary>
    public static long ResidentKb(int pid)
    {
        var line = File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/status")).First(static line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.AsSpan("VmRSS:".Length, line.Length - "VmRSS:".Length - "kB".Length).Trim(), CultureInfo.InvariantCulture);
    }

    /// <summary>Reads "pid (name) state ppid ... utime stime ..."; the name may hold blanks and brackets.</summary>
    internal static (int Parent, long Ticks) ParseStat(string stat)
    {
        var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return (int.Parse(fields[1], CultureInfo.InvariantCulture), long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture));
    }

    private static Dictionary<int, (int Parent, long Ticks)> ReadAll()
    {
        var all = new Dictionary<int, (int Parent, long Ticks)>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out var pid))
            {
                try
                {
                    all[pid] = ParseStat(File.ReadAllText(Path.Combine(folder, "stat")));
                }
                catch (IOException)
                {
                    // It has just ended.
                }
            }
        }

        return all;
    }

    private static HashSet<int> Tree(Dictionary<int, (int Parent, long Ticks)> all, IEnumerable<int> roots)
    {
        var children = all.ToLookup(static process => process.Value.Parent, static process => process.Key);
        var tree = new HashSet<int>();
        var open = new Stack<int>(roots.Where(all.ContainsKey));
        while (open.TryPop(out var pid))
        {
            if (tree.Add(pid))
            {
                foreach (var child in children[pid])
                {
                    open.Push(child);
                }
            }
        }

        return tree;
    }
}
