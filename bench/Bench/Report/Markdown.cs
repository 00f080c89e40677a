using System.Globalization;
using System.Text;

namespace Bench.Report;

/// <summary>A table of Markdown.</summary>
internal sealed class MarkdownTable(params string[] heads)
{
    public const string Nothing = "";

    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"| {string.Join(" | ", heads)} |");
        text.AppendLine(CultureInfo.InvariantCulture, $"|{string.Concat(Enumerable.Repeat("---|", heads.Length))}");
        foreach (var row in _rows)
        {
            text.AppendLine(CultureInfo.InvariantCulture, $"| {string.Join(" | ", row)} |");
        }

        return text.ToString();
    }

    /// <summary>A median alone; nothing for what was not measured.</summary>
    public static string Cell(Spread? spread, int decimals = 0) => spread is null ? Nothing : Number(spread.Median, decimals);

    /// <summary>A median with its spread, where there were several rounds.</summary>
    public static string SpreadCell(Spread? spread, int decimals = 0) => spread switch
    {
        null => Nothing,
        { Count: 1 } => Number(spread.Median, decimals),
        _ => $"{Number(spread.Median, decimals)} ({Number(spread.Min, decimals)}-{Number(spread.Max, decimals)})",
    };

    public static string Number(double value, int decimals) => value.ToString($"N{decimals}", CultureInfo.InvariantCulture);
}
