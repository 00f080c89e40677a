namespace Gateway.Admin.CommandLine;

/// <summary>Columns for people, as wide as what is in them.</summary>
internal static class Table
{
    private const string Gap = "  ";

    public static void Print(IReadOnlyList<string> head, IEnumerable<IReadOnlyList<string>> rows)
    {
        IReadOnlyList<IReadOnlyList<string>> all = [head, .. rows];
        var widths = Enumerable.Range(0, head.Count).Select(column => all.Max(row => row[column].Length)).ToArray();
        foreach (var row in all)
        {
            Console.WriteLine(string.Join(Gap, row.Select((cell, column) => cell.PadRight(widths[column]))).TrimEnd());
        }
    }

    /// <summary>Names and values below each other.</summary>
    public static void PrintFields(params IReadOnlyList<(string Name, string? Value)> fields)
    {
        var width = fields.Where(static field => field.Value is not null).Max(static field => field.Name.Length) + 1;
        foreach (var (name, value) in fields)
        {
            if (value is not null)
            {
                Console.WriteLine($"{(name + ":").PadRight(width)} {value}");
            }
        }
    }

    public static string Time(DateTimeOffset? time) => time is { } at ? at.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture) : "-";
}
