using System.Globalization;
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
        new("newconn", "Visitors with a new TLS connection for each request", NewConnections),
        new("wan", "Large bodies over a long line", Wan),
        new("idle", "Idle tunnels of one process", Idle),
        new("handshakes", "Devices that come back", Handshakes),
        new("cluster", "A full cluster on one machine", Cluster),
        new("soak", "Mixed load for long", Soak),
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
        if (record.Ratio(name, Gateway, "requestsPerSecond", AllPeers.Hops, "requestsPerSecond") is { } requests
            && record.Ratio(name, Gateway, "frontCpuUs", AllPeers.Hops, "frontCpuUs") is { } front && record.Ratio(name, Gateway, "deviceCpuUs", AllPeers.Hops, "deviceCpuUs") is { } device)
        {
            text.Append(CultureInfo.InvariantCulture, $"* of two plain hops: requests/s {requests.Median:0.00}, the gateway's CPU a request {front.Median:0.00}, the agent's {device.Median:0.00}").AppendLine();
        }

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

    private static string NewConnections(BenchRecord record)
    {
        const string name = "newconn";
        var table = new MarkdownTable("way", "requests/s (min-max)", "of plain YARP", "p50 ms", "p99 ms", "CPU us/request", "of plain YARP");
        foreach (var way in record.Cases(name))
        {
            table.Add(
                way, MarkdownTable.SpreadCell(record.Of(name, way, "requestsPerSecond")), MarkdownTable.Cell(record.Ratio(name, way, "requestsPerSecond", Yarp, "requestsPerSecond"), 2),
                MarkdownTable.Cell(record.Of(name, way, "p50Ms"), 1), MarkdownTable.Cell(record.Of(name, way, "p99Ms"), 1), MarkdownTable.Cell(record.Of(name, way, "frontCpuUs")),
                MarkdownTable.Cell(record.Ratio(name, way, "frontCpuUs", Yarp, "frontCpuUs"), 2));
        }

        return $"{table}\n{Target.Least("requests/s, of plain YARP's", record.Ratio(name, Gateway, "requestsPerSecond", Yarp, "requestsPerSecond")?.Median, 0.9)}";
    }

    private static string Wan(BenchRecord record)
    {
        const string name = "wan";
        const string direct = "direct";
        var table = new MarkdownTable("way", "down MB/s (min-max)", "of direct (min-max)", "up MB/s (min-max)", "of direct (min-max)");
        foreach (var way in record.Cases(name))
        {
            table.Add(
                way, MarkdownTable.SpreadCell(record.Of(name, way, "downMBs"), 2), MarkdownTable.SpreadCell(record.Ratio(name, way, "downMBs", direct, "downMBs"), 2),
                MarkdownTable.SpreadCell(record.Of(name, way, "upMBs"), 2), MarkdownTable.SpreadCell(record.Ratio(name, way, "upMBs", direct, "upMBs"), 2));
        }

        return new StringBuilder().Append(table).AppendLine()
            .Append(CultureInfo.InvariantCulture, $"Bodies of {record.Options["wanMb"]} MB; {record.Options["rttMs"]} ms round trip, {record.Options["lossPer100000"] / 1000:0.###} % of the packets lost each way. The losses are random: single transfers differ much.\n\n")
            .Append(Target.Least("MB/s down, of the direct download's", OfDirect("downMBs"), 0.9))
            .Append(Target.Least("MB/s up, of the direct upload's", OfDirect("upMBs"), 0.9))
            .ToString();

        // Of the medians: two transfers of a round do not lose the same packets.
        double? OfDirect(string value) => record.Of(name, "tunnel", value)?.Median / record.Of(name, direct, value)?.Median;
    }

    private static string Idle(BenchRecord record)
    {
        const string name = "idle";
        var table = new MarkdownTable(
            "tunnels", "KB of gateway memory each (min-max)", "process MB", "CPU, % of a core", "connects/s", "visitors of another device: p50 ms", "p99 ms", "KB kept after one visit", "visited once, of never", "first visit p99 ms");
        foreach (var one in record.Cases(name))
        {
            table.Add(
                MarkdownTable.Cell(record.Of(name, one, "tunnels")), MarkdownTable.SpreadCell(record.Of(name, one, "memoryKb"), 1), MarkdownTable.Cell(record.Of(name, one, "processMb")), MarkdownTable.Cell(record.Of(name, one, "idleCpuPercent"), 1),
                MarkdownTable.Cell(record.Of(name, one, "connectsPerSecond")), MarkdownTable.Cell(record.Of(name, one, "p50Ms"), 2), MarkdownTable.Cell(record.Of(name, one, "p99Ms"), 1),
                MarkdownTable.SpreadCell(record.Of(name, one, "keptKb"), 1), MarkdownTable.Cell(record.Of(name, one, "visitedOfUnvisited"), 2), MarkdownTable.Cell(record.Of(name, one, "firstVisitP99Ms"), 1));
        }

        return new StringBuilder().Append(table).AppendLine()
            .Append(Target.Most("KB of gateway memory a tunnel, of 10,000", record.Of(name, "10000", "memoryKb")?.Median, 24, 1))
            .Append(Target.Most("memory of a tunnel visited once, of one that never was, of 10,000", record.Of(name, "10000", "visitedOfUnvisited")?.Median, 1.3))
            .Append(Target.Most("memory a tunnel, the dearest of the table to the cheapest (it grows linearly)", Linear(), 1.25))
            .ToString();

        double? Linear()
        {
            double[] each = [.. record.Cases(name).Where(one => record.Of(name, one, "tunnels")!.Median >= 1000).Select(one => record.Of(name, one, "memoryKb")!.Median)];
            return each.Length > 1 ? each.Max() / each.Min() : null;
        }
    }

    private static string Handshakes(BenchRecord record)
    {
        const string name = "handshakes";
        const string resumed = "resumed";
        var table = new MarkdownTable("handshake", "devices", "gateway CPU ms a device (min-max)", "all back within s (min-max)", "bytes from the gateway until TLS is up", "dials repeated");
        foreach (var one in record.Cases(name))
        {
            table.Add(
                one, MarkdownTable.Cell(record.Of(name, one, "devices")), MarkdownTable.SpreadCell(record.Of(name, one, "gatewayCpuMs"), 2), MarkdownTable.SpreadCell(record.Of(name, one, "seconds"), 1),
                MarkdownTable.Cell(record.Of(name, one, "handshakeBytes")), MarkdownTable.Cell(record.Of(name, one, "repeatedDials")));
        }

        var back = record.Of(name, resumed, "devices")?.Median >= 10_000 ? record.Of(name, resumed, "seconds")?.Median : null;
        return new StringBuilder().Append(table).AppendLine()
            .Append(Target.Most("gateway CPU ms of a device that comes back", record.Of(name, resumed, "gatewayCpuMs")?.Median, 0.6))
            .Append(Target.Most("seconds until 10,000 devices are back", back, 60, 0))
            .ToString();
    }

    private static string Cluster(BenchRecord record)
    {
        const string name = "cluster";
        var table = new MarkdownTable("cluster", "tunnels", "dialled within s", "all nodes MB", "Redis MB", "devices MB", "first visits: p50 ms", "p99 ms", "failed", "further visits: p50 ms", "p99 ms (min-max)", "failed");
        foreach (var one in record.Cases(name))
        {
            table.Add(
                one, MarkdownTable.Cell(record.Of(name, one, "tunnels")), MarkdownTable.Cell(record.Of(name, one, "dialSeconds")), MarkdownTable.Cell(record.Of(name, one, "nodesMb")), MarkdownTable.Cell(record.Of(name, one, "redisMb")),
                MarkdownTable.Cell(record.Of(name, one, "devicesMb")), MarkdownTable.Cell(record.Of(name, one, "firstP50Ms"), 1), MarkdownTable.Cell(record.Of(name, one, "firstP99Ms"), 1), MarkdownTable.Cell(record.Of(name, one, "firstFailed")),
                MarkdownTable.Cell(record.Of(name, one, "p50Ms"), 1), MarkdownTable.SpreadCell(record.Of(name, one, "p99Ms"), 1), MarkdownTable.Cell(record.Of(name, one, "failed")));
        }

        return new StringBuilder().Append(table).AppendLine()
            .Append(CultureInfo.InvariantCulture, $"{record.Options["nodes"]} nodes on one Redis.\n\n")
            .Append(Target.Most("p99 of first visits, of the nearly empty cluster's", Times("firstP99Ms"), 5, 1))
            .Append(Target.Most("p99 of further visits, of the nearly empty cluster's", Times("p99Ms"), 5, 1))
            .ToString();

        double? Times(string value) => record.Of(name, "full", value)?.Median / record.Of(name, "nearly empty", value)?.Median;
    }

    private static string Soak(BenchRecord record)
    {
        const string name = "soak";
        var minutes = record.Samples.Where(static sample => sample.Measurement == name).Max(static sample => sample.Round);
        var table = new MarkdownTable("minutes", "gateway MB (min-max)", "agent MB", "visitors' p50 ms", "p99 ms (min-max)", "failed visits in a minute", "gateway CPU, % of a core");
        for (var third = 0; third < 3; third++)
        {
            var part = third;
            table.Add(
                string.Create(CultureInfo.InvariantCulture, $"{part * minutes / 3 + 1}-{(part + 1) * minutes / 3}"), MarkdownTable.SpreadCell(Third("processMb", part)), MarkdownTable.Cell(Third("agentMb", part)),
                MarkdownTable.Cell(Third("p50Ms", part), 1), MarkdownTable.SpreadCell(Third("p99Ms", part), 1), MarkdownTable.SpreadCell(Third("failed", part)), MarkdownTable.Cell(Third("cpuPercent", part)));
        }

        return new StringBuilder().Append(table).AppendLine()
            .Append(Target.Most("the gateway's memory in the last third, of the middle third's", Third("processMb", 2)?.Median / Third("processMb", 1)?.Median, 1.05))
            .Append(Target.Most("p99 in the last third, of the middle third's", Third("p99Ms", 2)?.Median / Third("p99Ms", 1)?.Median, 1.25))
            .ToString();

        Spread? Third(string value, int third) => record.Part(name, Gateway, value, minute => minute > third * minutes / 3 && minute <= (third + 1) * minutes / 3);
    }

    /// <summary>The peers that cross the same distance; nginx and plain YARP stand directly before the application.</summary>
    private static IEnumerable<string> Rivals(BenchRecord record, string measurement) => record.Cases(measurement).Where(static peer => peer is not (Yarp or Gateway or AllPeers.Hops or "nginx"));

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
