// The project's record: measures, writes a results file and tables. bench/run installs, builds and starts it.
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Bench;
using Bench.Link;
using Bench.Machine;
using Bench.Measurements;
using Bench.Processes;
using Bench.Report;

using var stopping = new CancellationTokenSource();
using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);

try
{
    if (args is ["link", ..])
    {
        return LongLine.Run(args[1..], stopping.Token);
    }

    var options = Options.Parse(args);
    if (options.Help)
    {
        Console.WriteLine(Options.Usage);
        return 0;
    }

    return options.Page ? WritePage(options) : await MeasureAsync(options, Options.Shown(args), stopping.Token);
}
catch (BenchException exception)
{
    Console.Error.WriteLine($"bench: {exception.Message}");
    return 2;
}
catch (OperationCanceledException) when (stopping.IsCancellationRequested)
{
    Console.Error.WriteLine("bench: interrupted; all that was started has ended");
    return 130;
}

void Stop(PosixSignalContext signal)
{
    // The stages end what they started while this unwinds.
    signal.Cancel = true;
    stopping.Cancel();
}

static int WritePage(Options options)
{
    var records = Page.Load(options.Results);
    if (records.Count == 0)
    {
        throw new BenchException($"{options.Results} holds no results file: measure first.");
    }

    var page = Repository.File("docs/benchmarks.md");
    File.WriteAllText(page, Page.Replace(File.ReadAllText(page), Page.Write(records)));
    Console.Error.WriteLine($"wrote {page}");
    return 0;
}

static async Task<int> MeasureAsync(Options options, string command, CancellationToken stopping)
{
    foreach (var program in new[] { "nginx", "wrk", "curl", "redis-server", "setsid" })
    {
        if (!Run.IsInstalled(program))
        {
            throw new BenchException($"{program} is not installed; as root, bench/run installs it");
        }
    }

    BenchRecord record;
    await using (var stage = new Stage(options.OneGroup, stopping))
    {
        record = new BenchRecord
        {
            Date = DateTimeOffset.UtcNow,
            Command = command,
            Machine = MachineFacts.Read(),
            Versions = await Versions.ReadAsync(stage),
            Scheduling = options.OneGroup ? "all programs in one session" : "each program in a session of its own",
            Options = options.ToDictionary(),
        };
    }

    var file = Path.Combine(options.Results, BenchRecord.FileName(record.Date));
    var failed = false;
    await using (var run = new Run(options, record, stopping))
    {
        foreach (var measurement in AllMeasurements.List.Where(measurement => options.Only.Contains(measurement.Name)))
        {
            try
            {
                if (!AllMeasurements.OfPeers.Contains(measurement))
                {
                    await run.StopPeersAsync();
                }

                await measurement.RunAsync(run);
            }
            catch (BenchException exception)
            {
                failed = true;
                run.AddAbsent(measurement.Name, "all", exception.Message);
            }

            // Hours of measuring are not lost with what comes after them.
            record.Save(file);
        }
    }

    var text = new StringBuilder();
    foreach (var tables in Tables.All.Where(tables => record.Samples.Any(sample => sample.Measurement == tables.Measurement)))
    {
        text.Append(CultureInfo.InvariantCulture, $"### {tables.Title}\n\n{tables.Write(record)}\n");
    }

    foreach (var absent in record.Absent)
    {
        text.Append(CultureInfo.InvariantCulture, $"Not measured: {absent.Measurement}, {absent.Case}: {absent.Reason}\n");
    }

    Console.WriteLine(text.Append(Page.Origin(null, record)).ToString());
    Console.Error.WriteLine($"every figure is in {file}");
    return failed ? 1 : 0;
}
