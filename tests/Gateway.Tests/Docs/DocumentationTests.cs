using System.Collections;
using System.Reflection;
using System.Text.RegularExpressions;
using Gateway.Admin.CommandLine;
using Gateway.Edge;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Docs;

/// <summary>The documents say what the program does.</summary>
public sealed partial class DocumentationTests
{
    [Fact]
    public void Every_setting_is_documented_with_its_default()
    {
        var documented = Table().Matches(File.ReadAllText(Repository.File("docs/configuration.md")))
            .ToDictionary(static row => row.Groups["key"].Value, static row => row.Groups["default"].Value, StringComparer.Ordinal);

        foreach (var (key, value) in KnownSettings.Known.SelectMany(static known => Settings(known.Section, Activator.CreateInstance(known.Options)!)))
        {
            Assert.True(documented.TryGetValue(key, out var text), $"docs/configuration.md has no row for {key}.");
            var expected = value switch
            {
                "" => "empty",
                IEnumerable and not string => null,
                _ => $"`{value}`",
            };
            Assert.True(expected is null || expected == text, $"docs/configuration.md says {text} for {key}, the default is {expected}.");
        }
    }

    [Fact]
    public void Every_failure_is_documented_with_its_status()
    {
        var document = File.ReadAllText(Repository.File("docs/failures.md"));
        var failures = typeof(Failure).GetFields(BindingFlags.Public | BindingFlags.Static).Select(static field => field.GetValue(null)).OfType<Failure>().ToList();

        Assert.NotEmpty(failures);
        foreach (var failure in failures)
        {
            Assert.Matches($@"\| `{failure.Reason}` \| [0-9, ]*{failure.Status}[0-9, ]* \| .*`{failure.ProxyError}`", document);
        }
    }

    private static IEnumerable<(string Key, object? Value)> Settings(string path, object options)
    {
        foreach (var property in options.GetType().GetProperties())
        {
            var value = property.GetValue(options);
            if (value is not null and not string and not IEnumerable && value.GetType().IsClass)
            {
                foreach (var inner in Settings($"{path}:{property.Name}", value))
                {
                    yield return inner;
                }
            }
            else
            {
                yield return ($"{path}:{property.Name}", value);
            }
        }
    }

    [GeneratedRegex(@"^\| `(?<key>[A-Za-z0-9:]+)` \| [^|]* \| (?<default>[^|]*?) \|", RegexOptions.Multiline, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Table();
}
