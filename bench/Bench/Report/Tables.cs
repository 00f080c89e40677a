using System.Text;
using Bench.Peers;

namespace Bench.Report;

/// <summary>The tables of one measurement, and what the project wants of it.</summary>
internal sealed record MeasurementTables(string Measurement, string Title, Func<BenchRecord, string> Write);

/// <summary>The tables of all measurements.</summary>
internal static class Tables
{
    private const string Yarp = AllPeers.Yarp;
    private const string Gateway = AllPeers.Gateway;

    public static readonly MeasurementTables[] All =
    [
        new("small", "Small requests, 64 visitors", Small),
        new("one", "One visitor", One),
        new("big", "Large bodies on loopback", Big),
    ];

    private static string Small(BenchRecord record)
    {
        const string name = "small";
        var table = new MarkdownTable("way", "requests/s (min-max)", "of plain YARP", "p50 ms", "p99 ms", "CPU us/request, front", "of plain YARP", "CPU us/request, device");
        foreach (var peer in record.Cases(name))
        {
            table.Add(
                peer, MarkdownTable.SpreadCell(record.Of(name, peer, "requestsPerSecond")), MarkdownTable.Cell(record.Ratio(name, peer, "requestsPerSecond", Yarp, "requestsPerSecond"), 2),
                MarkdownTable.Cell(record.Of(name, peer, "p50Ms"), 2), MarkdownTable.Cell(record.Of(name, peer, "p99Ms"), 1), MarkdownTable.Cell(record.Of(name, peer, "frontCpuUs"), 1),
                MarkdownTable.Cell(record.Ratio(name, peer, "frontCpuUs", Yarp, "frontCpuUs"), 2), MarkdownTable.Cell(record.Of(name, peer, "deviceCpuUs"), 1));
        }

        var text = new StringBuilder().Append(table).AppendLine()
            .Append(Ways(record, name))
            .Append(Target.Least("requests/s, of plain YARP's", record.Ratio(name, Gateway, "requestsPerSecond", Yarp, "requestsPerSecond")?.Median, 0.85))
            .Append(Target.Most("the gateway's CPU a request, of plain YARP's", record.Ratio(name, Gateway, "frontCpuUs", Yarp, "frontCpuUs")?.Median, 1))
            .Append(Target.Most("the agent's CPU a request, of plain YARP's", record.Ratio(name, Gateway, "deviceCpuUs", Yarp, "frontCpuUs")?.Median, 1));
        foreach (var peer in Rivals(record, name))
        {
            text.Append(Target.Least($"requests/s, of {peer}'s", record.Ratio(name, Gateway, "requestsPerSecond", peer, "requestsPerSecond")?.Median, 1));
        }

        return text.ToString();
    }

    private static string One(BenchRecord record)
    {
        const string name = "one";
        var table = new MarkdownTable("way", "p50 us (min-max)", "more than plain YARP, us", "p99 us", "beside a download: p50 us", "p99 us (min-max)", "p99 of idle's");
        foreach (var peer in record.Cases(name))
        {
            table.Add(
                peer, MarkdownTable.SpreadCell(record.Of(name, peer, "p50Us")), MarkdownTable.Cell(record.Difference(name, peer, Yarp, "p50Us")), MarkdownTable.Cell(record.Of(name, peer, "p99Us")),
                MarkdownTable.Cell(record.Of(name, peer, "besideDownloadP50Us")), MarkdownTable.SpreadCell(record.Of(name, peer, "besideDownloadP99Us")),
                MarkdownTable.Cell(record.Ratio(name, peer, "besideDownloadP99Us", peer, "p99Us"), 1));
        }

        return new StringBuilder().Append(table).AppendLine()
            .Append(Missing(record, name))
            .Append(Target.Most("latency (p50) that the gateway adds to plain YARP's, us", record.Difference(name, Gateway, Yarp, "p50Us")?.Median, 150, 0))
            .Append(Target.Most("p99 beside a download on the same tunnel, of the idle p99", record.Ratio(name, Gateway, "besideDownloadP99Us", Gateway, "p99Us")?.Median, 3, 1))
            .ToString();
    }

    private static string Big(BenchRecord record)
    {
        const string name = "big";
        var table = new MarkdownTable("way", "down MB/s (min-max)", "of plain YARP", "up MB/s (min-max)", "of plain YARP");
        foreach (var peer in record.Cases(name))
        {
            table.Add(
                peer, MarkdownTable.SpreadCell(record.Of(name, peer, "downMBs")), MarkdownTable.Cell(record.Ratio(name, peer, "downMBs", Yarp, "downMBs"), 2),
                MarkdownTable.SpreadCell(record.Of(name, peer, "upMBs")), MarkdownTable.Cell(record.Ratio(name, peer, "upMBs", Yarp, "upMBs"), 2));
        }

        var text = new StringBuilder().Append(table).AppendLine()
            .Append(Missing(record, name))
            .Append(Target.Least("MB/s down, of plain YARP's", record.Ratio(name, Gateway, "downMBs", Yarp, "downMBs")?.Median, 0.5))
            .Append(Target.Least("MB/s up, of plain YARP's", record.Ratio(name, Gateway, "upMBs", Yarp, "upMBs")?.Median, 0.5));
        foreach (var peer in Rivals(record, name))
        {
            text.Append(Target.Least($"MB/s down, of {peer}'s", record.Ratio(name, Gateway, "downMBs", peer, "downMBs")?.Median, 1))
                .Append(Target.Least($"MB/s up, of {peer}'s", record.Ratio(name, Gateway, "upMBs", peer, "upMBs")?.Median, 1));
        }

        return text.ToString();
    }

    /// <summary>The peers that cross the same distance; nginx and plain YARP stand directly before the application.</summary>
    private static IEnumerable<string> Rivals(BenchRecord record, string measurement) => record.Cases(measurement).Where(static peer => peer is not (Yarp or Gateway or "nginx"));

    /// <summary>What each way is, and which could not be measured.</summary>
    private static string Ways(BenchRecord record, string measurement)
    {
        var text = new StringBuilder();
        foreach (var peer in record.Cases(measurement))
        {
            text.Append("* ").Append(peer).Append(": ").AppendLine(record.Ways.GetValueOrDefault(peer, ""));
        }

        return text.AppendLine().Append(Missing(record, measurement)).ToString();
    }

    /// <summary>Peers without a row, or with a part of one, and why.</summary>
    private static string Missing(BenchRecord record, string measurement)
    {
        var text = new StringBuilder();
        foreach (var absent in record.Absent.Where(absent => absent.Measurement == measurement || (record.Ways.ContainsKey(absent.Case) && !record.Cases(measurement).Contains(absent.Case))))
        {
            text.Append("* ").Append(absent.Case).Append(": not measured: ").AppendLine(absent.Reason);
        }

        return text.Length == 0 ? "" : text.AppendLine().ToString();
    }
}
