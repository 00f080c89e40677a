using System.Globalization;
using System.Text;
using Bench.Processes;

namespace Bench.Report;

/// <summary>The part of docs/benchmarks.md that the program writes.</summary>
internal static class Page
{
    public const string Begin = "<!-- bench/run --page writes from here -->";
    public const string End = "<!-- to here -->";

    /// <summary>Puts new text between the two marks.</summary>
    /// <exception cref="BenchException">The marks are not there, once each and in order.</exception>
    public static string Replace(string page, string text)
    {
        var begin = page.IndexOf(Begin, StringComparison.Ordinal);
        var end = page.IndexOf(End, StringComparison.Ordinal);
        return begin < 0 || end < begin || page.LastIndexOf(Begin, StringComparison.Ordinal) != begin || page.LastIndexOf(End, StringComparison.Ordinal) != end
            ? throw new BenchException($"The page needs the lines \"{Begin}\" and \"{End}\", once each and in this order.")
            : $"{page[..(begin + Begin.Length)]}\n\n{text.Trim('\n')}\n\n{page[end..]}";
    }

    /// <summary>All tables, each from the newest of the records that has its measurement.</summary>
    /// <param name="records">The oldest first.</param>
    public static string Write(IReadOnlyList<(string File, BenchRecord Record)> records)
    {
        var text = new StringBuilder();
        foreach (var tables in Tables.All)
        {
            var (file, record) = records.LastOrDefault(one => one.Record.Samples.Any(sample => sample.Measurement == tables.Measurement));
            if (record is not null)
            {
                text.Append(CultureInfo.InvariantCulture, $"### {tables.Title}\n\n{tables.Write(record)}\n{Origin(file, record)}\n\n");
            }
        }

        return text.ToString();
    }

    /// <summary>Where figures come from.</summary>
    public static string Origin(string? file, BenchRecord record)
    {
        var machine = record.Machine;
        var name = file is null ? "" : $" ([record](../bench/results/{Path.GetFileName(file)}))";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"`{record.Command}`, {record.Date:yyyy-MM-dd}{name}: {machine.Cpu}, {machine.Cores} cores, {machine.MemoryGib:0} GiB, Linux {machine.Kernel}, {machine.Distribution}, .NET {record.Versions[".NET"]}, commit {record.Versions["commit"]}; {record.Scheduling}.");
    }

    /// <summary>The results files of a folder, the oldest first: their names are their dates.</summary>
    public static IReadOnlyList<(string File, BenchRecord Record)> Load(string folder) =>
        Directory.Exists(folder) ? [.. Directory.GetFiles(folder, "*.json").Order(StringComparer.Ordinal).Select(static file => (file, BenchRecord.Load(file)))] : [];
}
