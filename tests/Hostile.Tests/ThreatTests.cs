using System.Text.RegularExpressions;
using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>THREATS.md claims nothing that no test shows.</summary>
public sealed partial class ThreatTests
{
    private static readonly string Page = File.ReadAllText(Repository.File("THREATS.md"));

    // Methods that the test framework runs, in every test project.
    private static readonly HashSet<string> Tests = Directory.GetFiles(Repository.File("tests"), "*.cs", SearchOption.AllDirectories)
        .Where(static file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
        .SelectMany(static file => Test().Matches(File.ReadAllText(file)))
        .Select(static match => match.Groups["name"].Value)
        .ToHashSet(StringComparer.Ordinal);

    [Fact]
    public void Every_test_that_the_page_of_threats_names_exists()
    {
        var named = Name().Matches(Page).Select(static match => match.Groups["name"].Value).ToList();

        Assert.True(Tests.Count > 250, $"There are only {Tests.Count} tests.");
        Assert.True(named.Count > 60, $"Only {named.Count} tests are named.");
        Assert.Equal([], named.Where(static name => !Tests.Contains(name)));
    }

    [Fact]
    public void Every_threat_has_an_answer_and_a_test()
    {
        // Rows of three columns in the numbered sections, without the tables' heads.
        var rows = Page.Split("\n## ").Where(static section => char.IsAsciiDigit(section[0]))
            .SelectMany(static section => section.Split('\n').Where(static line => line.StartsWith('|')).Skip(2))
            .Select(static line => line.Trim('|').Split('|', StringSplitOptions.TrimEntries)).ToList();

        Assert.True(rows.Count > 40, $"There are only {rows.Count} threats.");
        Assert.All(rows, static row =>
        {
            Assert.Equal(3, row.Length);
            Assert.NotEmpty(row[1]);
            Assert.True(Name().IsMatch(row[2]), $"No test shows this: {row[0]}");
        });
    }

    // A fact or theory, its other attributes and remarks, and the method's name.
    [GeneratedRegex(
        @"\[(Fact|Theory)\b.*\n(\s*(\[|//).*\n)*\s*public (async |static )*(Task|ValueTask|void) (?<name>\w+)\(", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Test();

    // A sentence: words with underscores between them.
    [GeneratedRegex("`(?<name>[A-Z][A-Za-z0-9]*(_[A-Za-z0-9]+){2,})`", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Name();
}
