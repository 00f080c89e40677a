using Bench;
using Bench.Machine;
using Bench.Peers;
using Bench.Processes;
using Bench.Report;
using Bench.Visits;

namespace Gateway.Tests.Bench;

/// <summary>What the bench makes of what it has measured.</summary>
public sealed class ReportTests
{
    private const string WrkOutput = """
        Running 5s test @ http://127.0.0.1:20001/small
          2 threads and 64 connections
          Thread Stats   Avg      Stdev     Max   +/- Stdev
            Latency     3.95ms    2.55ms  52.36ms   89.12%
            Req/Sec     8.54k     1.03k   10.12k    68.00%
          Latency Distribution
             50%    3.39ms
             75%    4.81ms
             90%  990.00us
             99%    1.16s 
          85312 requests in 5.01s, 21.07MB read
        Requests/sec:  17028.34
        Transfer/sec:      4.21MB
        """;

    private static BenchRecord Record(params Sample[] further) => new()
    {
        Date = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero),
        Command = "bench/run --only small",
        Machine = new MachineFacts("a processor", 2, 24, "6.1", "Debian"),
        Versions = new(StringComparer.Ordinal) { [".NET"] = "10.0.0", ["commit"] = "0123456789" },
        Scheduling = "each program in a session of its own",
        Options = new Options().ToDictionary(),
        Ways = new(StringComparer.Ordinal) { ["yarp"] = "plain YARP", ["gateway"] = "the gateway", ["openvpn"] = "OpenVPN" },
        Absent = [new Absent("small", "openvpn", "there is no /dev/net/tun")],
        Samples =
        [
            Small("yarp", 1, 1000, 50), Small("gateway", 1, 700, 40, 30), Small("gateway", 2, 1800, 50, 60), Small("yarp", 2, 2000, 50), Small("yarp", 3, 1500, 50), Small("gateway", 3, 1200, 45, 45),
            .. further,
        ],
    };

    private static Sample Small(string way, int round, double rate, double front, double? device = null)
    {
        var values = new SortedDictionary<string, double>(StringComparer.Ordinal) { ["requestsPerSecond"] = rate, ["p50Ms"] = 2, ["p99Ms"] = 9, ["frontCpuUs"] = front };
        if (device is { } cpu)
        {
            values["deviceCpuUs"] = cpu;
        }

        return new Sample("small", way, round, values);
    }

    [Theory]
    [InlineData(new double[] { 3, 1, 2 }, 2, 1, 3)]
    [InlineData(new double[] { 4, 1, 2, 3 }, 2.5, 1, 4)]
    [InlineData(new double[] { 7 }, 7, 7, 7)]
    public void A_spread_has_the_median_and_its_bounds(double[] values, double median, double min, double max) => Assert.Equal(new Spread(median, min, max, values.Length), Spread.Of(values));

    [Fact]
    public void What_wrk_says_is_read() => Assert.Equal(new WrkResult(85312, 17028.34, 3.39, 1160), Wrk.Parse(WrkOutput));

    [Fact]
    public void Errors_that_wrk_counts_are_no_result()
    {
        Assert.Throws<BenchException>(() => Wrk.Parse(WrkOutput + "\n  Non-2xx or 3xx responses: 3"));
        Assert.Throws<BenchException>(() => Wrk.Parse("unable to connect to 127.0.0.1:20001 Connection refused"));
    }

    [Theory]
    [InlineData("990.00us", 0.99)]
    [InlineData("3.39ms", 3.39)]
    [InlineData("1.16s", 1160)]
    [InlineData("2.00m", 120_000)]
    public void Times_of_wrk_become_milliseconds(string text, double milliseconds) => Assert.Equal(milliseconds, Wrk.Milliseconds(text), 6);

    [Fact]
    public void A_quantile_is_a_time_that_was_measured()
    {
        var times = VisitTimes.Of(Enumerable.Range(1, 200).Select(static i => (double)i).Reverse());
        Assert.Equal((100, 198), (times.P50, times.P99));
        Assert.Equal(5, VisitTimes.Of([5]).P99);
    }

    [Fact]
    public void Ratios_are_of_the_same_round()
    {
        var record = Record();
        Assert.Equal(new Spread(0.8, 0.7, 0.9, 3), record.Ratio("small", "gateway", "requestsPerSecond", "yarp", "requestsPerSecond"));
        Assert.Equal(-300, record.Difference("small", "gateway", "yarp", "requestsPerSecond")!.Median);
        Assert.Null(record.Of("small", "openvpn", "requestsPerSecond"));
    }

    [Fact]
    public void A_record_comes_back_from_its_file()
    {
        var folder = Directory.CreateTempSubdirectory("gateway-test-");
        try
        {
            var record = Record();
            var file = Path.Combine(folder.FullName, BenchRecord.FileName(record.Date));
            record.Save(file);
            Assert.Equal("2026-01-02T030405Z.json", Path.GetFileName(file));
            var again = Assert.Single(Page.Load(folder.FullName)).Record;
            Assert.Equal(record.Machine, again.Machine);
            Assert.Equal(1200, again.Medians["small"]["gateway"]["requestsPerSecond"].Median);
            Assert.Equal(Page.Write([(file, record)]), Page.Write([(file, again)]));
            File.WriteAllText(file, "{}");
            Assert.Throws<BenchException>(() => Page.Load(folder.FullName));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Two_plain_hops_are_no_rival_but_what_can_be_reached()
    {
        var page = Page.Write([("record.json", Record(Small("hops", 1, 1400, 32, 20), Small("hops", 2, 2000, 50, 40), Small("hops", 3, 2400, 90, 60)))]);
        Assert.Contains("of two plain hops: requests/s 0.50, the gateway's CPU a request 1.00, the agent's 1.50", page, StringComparison.Ordinal);
        Assert.DoesNotContain("of hops's", page, StringComparison.Ordinal);
        Assert.DoesNotContain("two plain hops", Page.Write([("record.json", Record())]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_page_shows_figures_targets_and_who_is_missing()
    {
        var page = Page.Write([("bench/results/2026-01-02T030405Z.json", Record())]);
        Assert.Contains("| gateway | 1,200 (700-1,800) | 0.80 | 2.00 | 9.0 | 45.0 | 0.90 | 45.0 |", page, StringComparison.Ordinal);
        Assert.Contains("requests/s, of plain YARP's: 0.80, the target is at least 0.85: **missed**", page, StringComparison.Ordinal);
        Assert.Contains("the gateway's CPU a request, of plain YARP's: 0.90, the target is at most 1.00: held", page, StringComparison.Ordinal);
        Assert.Contains("openvpn: not measured: there is no /dev/net/tun", page, StringComparison.Ordinal);
        Assert.Contains("[record](../bench/results/2026-01-02T030405Z.json)", page, StringComparison.Ordinal);
        Assert.DoesNotContain("Large bodies", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Only_what_stands_between_the_marks_is_written()
    {
        var page = $"before\n{Page.Begin}\nold\n{Page.End}\nafter\n";
        var once = Page.Replace(page, "new\n");
        Assert.Equal($"before\n{Page.Begin}\n\nnew\n\n{Page.End}\nafter\n", once);
        Assert.Equal(once, Page.Replace(once, "new\n"));
        Assert.Throws<BenchException>(() => Page.Replace("no marks", "new"));
        Assert.Throws<BenchException>(() => Page.Replace($"{Page.End}\n{Page.Begin}", "new"));
    }

    [Fact]
    public void The_projects_page_has_the_marks() => Page.Replace(File.ReadAllText(Repository.File("docs/benchmarks.md")), "new");

    [Theory]
    [InlineData("--only", "small,wrong")]
    [InlineData("--rounds", "0")]
    [InlineData("--seconds", "x")]
    [InlineData("--tunnels", "1000,")]
    [InlineData("--results")]
    [InlineData("--fast")]
    public void A_wrong_argument_is_named(params string[] arguments) => Assert.Contains(arguments[0], Assert.Throws<BenchException>(() => Options.Parse(arguments)).Message, StringComparison.Ordinal);

    [Fact]
    public void The_record_shows_no_path_of_the_machine() => Assert.Equal("bench/run --only one --rounds 3", Options.Shown(["--only", "one", "--results", "/home/me", "--rounds", "3"]));

    [Fact]
    public void All_means_every_measurement_and_every_number_of_tunnels()
    {
        var options = Options.Parse(["--all", "--rounds", "3"]);
        Assert.Equal((9, 3), (options.Only.Count, options.Rounds));
        Assert.Equal([1_000, 5_000, 10_000, 18_000], options.Tunnels);
        Assert.Equal(["small", "one", "big", "idle"], Options.Parse([]).Only);
        Assert.Equal(AllPeers.List.Select(static peer => peer.Name), Options.PeerNames);
    }

    [Fact]
    public void A_process_name_may_hold_brackets_and_blanks() =>
        Assert.Equal((7, 42), ProcFs.ParseStat("123 (a (b) c) S 7 123 123 0 -1 4194560 1 0 0 0 40 2 0 0 20 0 1 0 100 1000 10"));

    [Fact]
    public void A_device_is_written_as_the_gateway_reads_it()
    {
        var device = RedisServer.NewDevice();
        var (key, fields) = RedisServer.RecordOf(device);
        Assert.Equal($"device:{{{device.Uuid}}}", key);
        Assert.Equal(["public_url", "key"], fields.Select(static field => field.Name));
    }
}
