using System.Globalization;
using System.Text.Json;
using Bench.Machine;

namespace Bench.Report;

/// <summary>One measurement of one case in one round. The unit is in each value's name.</summary>
internal sealed record Sample(string Measurement, string Case, int Round, SortedDictionary<string, double> Values);

/// <summary>What could not be measured, and why.</summary>
internal sealed record Absent(string Measurement, string Case, string Reason);

/// <summary>A median and between what it lies.</summary>
internal sealed record Spread(double Median, double Min, double Max, int Count)
{
    public static Spread Of(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0
            ? throw new ArgumentException("There is no median of nothing.", nameof(values))
            : new Spread(sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2, sorted[0], sorted[^1], sorted.Length);
    }
}

/// <summary>All that one run of the bench has found: the results file.</summary>
internal sealed class BenchRecord
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.CamelCase, WriteIndented = true };

    public required DateTimeOffset Date { get; init; }
    public required string Command { get; init; }
    public required MachineFacts Machine { get; init; }

    /// <summary>The project's commit, the runtime's version, those of other programs.</summary>
    public required SortedDictionary<string, string> Versions { get; init; }

    /// <summary>Whether each program was in a session, and so in a scheduling group, of its own, or all in one.</summary>
    public required string Scheduling { get; init; }

    public required SortedDictionary<string, double> Options { get; init; }

    /// <summary>The peers and what a request of theirs passes.</summary>
    public SortedDictionary<string, string> Ways { get; init; } = [];

    public List<Absent> Absent { get; init; } = [];
    public List<Sample> Samples { get; init; } = [];

    /// <summary>Measurement, case, value: derived from the samples, for readers of the file.</summary>
    public SortedDictionary<string, SortedDictionary<string, SortedDictionary<string, Spread>>> Medians
    {
        get
        {
            var all = new SortedDictionary<string, SortedDictionary<string, SortedDictionary<string, Spread>>>(StringComparer.Ordinal);
            foreach (var measurement in Samples.GroupBy(static sample => sample.Measurement))
            {
                all[measurement.Key] = new(StringComparer.Ordinal);
                foreach (var one in measurement.GroupBy(static sample => sample.Case))
                {
                    all[measurement.Key][one.Key] = new(
                        one.SelectMany(static sample => sample.Values).GroupBy(static value => value.Key)
                            .ToDictionary(static value => value.Key, static value => Spread.Of(value.Select(static pair => pair.Value))),
                        StringComparer.Ordinal);
                }
            }

            return all;
        }
    }

    /// <summary>The cases of a measurement, in the order in which they were measured first.</summary>
    public IReadOnlyList<string> Cases(string measurement) => [.. Samples.Where(sample => sample.Measurement == measurement).Select(static sample => sample.Case).Distinct()];

    /// <summary>A value of a case over all rounds; null when it was not measured.</summary>
    public Spread? Of(string measurement, string @case, string value)
    {
        double[] values = [.. Values(measurement, @case, value).Select(static pair => pair.Value)];
        return values.Length == 0 ? null : Spread.Of(values);
    }

    /// <summary>A value of one case divided by that of another (or a value of its own) in the same round, over all rounds.</summary>
    public Spread? Ratio(string measurement, string @case, string value, string otherCase, string otherValue)
    {
        var others = Values(measurement, otherCase, otherValue).ToDictionary(static pair => pair.Round, static pair => pair.Value);
        double[] ratios = [.. Values(measurement, @case, value).Where(pair => others.GetValueOrDefault(pair.Round) > 0).Select(pair => pair.Value / others[pair.Round])];
        return ratios.Length == 0 ? null : Spread.Of(ratios);
    }

    /// <summary>What a value of one case has more than that of another in the same round, over all rounds.</summary>
    public Spread? Difference(string measurement, string @case, string otherCase, string value)
    {
        var others = Values(measurement, otherCase, value).ToDictionary(static pair => pair.Round, static pair => pair.Value);
        double[] differences = [.. Values(measurement, @case, value).Where(pair => others.ContainsKey(pair.Round)).Select(pair => pair.Value - others[pair.Round])];
        return differences.Length == 0 ? null : Spread.Of(differences);
    }

    /// <summary>A value of a case over a part of its rounds.</summary>
    public Spread? Part(string measurement, string @case, string value, Func<int, bool> takesPart)
    {
        double[] values = [.. Values(measurement, @case, value).Where(pair => takesPart(pair.Round)).Select(static pair => pair.Value)];
        return values.Length == 0 ? null : Spread.Of(values);
    }

    public static string FileName(DateTimeOffset date) => date.ToString("yyyy-MM-dd'T'HHmmss'Z.json'", CultureInfo.InvariantCulture);

    public void Save(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, JsonSerializer.Serialize(this, Json) + "\n");
    }

    /// <exception cref="Processes.BenchException">The file is not a results file.</exception>
    public static BenchRecord Load(string path)
    {
        try
        {
            return JsonSerializer.Deserialize<BenchRecord>(File.ReadAllText(path), Json)!;
        }
        catch (JsonException exception)
        {
            throw new Processes.BenchException($"{path} is not a results file of this program: {exception.Message}");
        }
    }

    private IEnumerable<(int Round, double Value)> Values(string measurement, string @case, string value) =>
        from sample in Samples
        where sample.Measurement == measurement && sample.Case == @case && sample.Values.ContainsKey(value)
        select (sample.Round, sample.Values[value]);
}
