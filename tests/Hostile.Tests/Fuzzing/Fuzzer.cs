using System.Diagnostics;
using System.Globalization;
using System.Text;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Fuzzing;

/// <summary>
/// Feeds a parser with inputs that were valid, or nearly so, once: taken from a corpus, cut, joined, repeated, and sprinkled with bytes that mean
/// something to it. The same seed gives the same inputs. Where the parser is instrumented (<see cref="GuidedTests"/>), an input that reaches what none
/// before it has reached becomes one of those that further ones are made from.
/// </summary>
internal static class Fuzzer
{
    private const int MaxLength = 4096;

    /// <summary>A million for each parser in the heavy run, else twenty thousand.</summary>
    public static int Inputs { get; } = Environment.GetEnvironmentVariable("GATEWAY_TEST_HEAVY") == "1" ? 1_000_000 : 20_000;

    /// <summary>What an instrumented parser has passed; null where none is.</summary>
    internal static Coverage? Guide { get; set; }

    /// <summary>Parses <see cref="Inputs"/> inputs; fails with the first that makes it throw, written so that it can be a line of the corpus.</summary>
    /// <param name="corpus">The corpus' name: <c>tests/Hostile.Tests/Corpora/{corpus}.txt</c>.</param>
    /// <param name="parse">Throws for what must not happen.</param>
    public static void Run(string corpus, Action<byte[]> parse)
    {
        var seeds = Read(corpus);
        Assert.NotEmpty(seeds);
        var kept = seeds.Count;
        foreach (var seed in seeds)
        {
            Guide?.Clear();
            Parse(corpus, seed, parse);
            _ = Guide?.TakeNew();
        }

        var known = Guide?.Edges;

        var started = Stopwatch.GetTimestamp();
        var random = new Random(corpus.Length + Inputs);
        for (var i = 0; i < Inputs; i++)
        {
            var input = Mutate(seeds, random);
            Guide?.Clear();
            Parse(corpus, input, parse);
            if (Guide?.TakeNew() == true)
            {
                seeds.Add(input);
            }
        }

        var led = Guide is null ? "" : string.Create(CultureInfo.InvariantCulture, $"; {Guide.Edges:N0} edges, {known:N0} of them by the seeds alone; {seeds.Count - kept} inputs led further");
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{corpus}: {Inputs:N0} inputs from {kept} seeds, {Inputs / Stopwatch.GetElapsedTime(started).TotalSeconds:N0} a second{led}"));
    }

    /// <summary>The same for a parser of text, a character a byte.</summary>
    public static void RunText(string corpus, Action<string> parse) => Run(corpus, bytes => parse(Encoding.Latin1.GetString(bytes)));

    private static void Parse(string corpus, byte[] input, Action<byte[]> parse)
    {
        try
        {
            parse(input);
        }
        catch (Exception exception)
        {
            Assert.Fail($"This input breaks {corpus}; mend the parser, and add the line to the corpus:\n{Escape(input)}\n{exception}");
        }
    }

    // A line an input; \xNN for a byte that is no printable ASCII, and for the backslash; # begins a remark.
    private static List<byte[]> Read(string corpus) =>
        [.. File.ReadLines(Repository.File($"tests/Hostile.Tests/Corpora/{corpus}.txt")).Where(static line => line.Length > 0 && line[0] != '#').Select(Unescape)];

    private static byte[] Unescape(string line)
    {
        var bytes = new List<byte>();
        for (var i = 0; i < line.Length; i++)
        {
            if (line[i] == '\\')
            {
                bytes.Add(byte.Parse(line.AsSpan(i + 2, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture));
                i += 3;
            }
            else
            {
                bytes.Add((byte)line[i]);
            }
        }

        return [.. bytes];
    }

    private static string Escape(byte[] input)
    {
        var line = new StringBuilder();
        foreach (var value in input)
        {
            _ = value is >= 0x20 and < 0x7f and not (byte)'\\' && (line.Length > 0 || value != '#') ? line.Append((char)value) : line.Append(CultureInfo.InvariantCulture, $"\\x{value:x2}");
        }

        return line.ToString();
    }

    private static byte[] Mutate(List<byte[]> seeds, Random random)
    {
        var input = new List<byte>(seeds[random.Next(seeds.Count)]);
        for (var changes = 1 + random.Next(4); changes > 0; changes--)
        {
            var at = random.Next(input.Count + 1);
            var some = Math.Min(1 + random.Next(8), input.Count - at);
            switch (random.Next(8))
            {
                case 0 when at < input.Count:
                    input[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < input.Count:
                    input[at] = (byte)random.Next(256);
                    break;
                case 2:
                    input.RemoveRange(at, some);
                    break;
                case 3:
                    input.InsertRange(at, Telling[random.Next(Telling.Length)]);
                    break;
                case 4:
                    // A part of another one.
                    var other = seeds[random.Next(seeds.Count)];
                    var from = random.Next(other.Length + 1);
                    input.InsertRange(at, other.AsSpan(from, random.Next(other.Length - from + 1)).ToArray());
                    break;
                case 5 when some > 0:
                    // The same again, now and then very often: lengths, and depths.
                    var part = input.GetRange(at, some);
                    for (var times = random.Next(10) == 0 ? random.Next(1000) : random.Next(4); times > 0 && input.Count < MaxLength; times--)
                    {
                        input.InsertRange(at, part);
                    }

                    break;
                case 6:
                    input.RemoveRange(at, input.Count - at);
                    break;
                default:
                    input.Insert(at, (byte)random.Next(256));
                    break;
            }
        }

        return [.. input];
    }

    // What parsers look for.
    private static readonly byte[][] Telling =
    [
        [0], [0xff], [0x7f], [0x80], [0xff, 0xff], [0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff], [0xc0, 0x0c], "\r\n"u8.ToArray(), "\r"u8.ToArray(), "\n"u8.ToArray(), "\r\n\r\n"u8.ToArray(),
        " "u8.ToArray(), "\t"u8.ToArray(), ":"u8.ToArray(), ","u8.ToArray(), ";"u8.ToArray(), "'"u8.ToArray(), "''"u8.ToArray(), "\""u8.ToArray(), "("u8.ToArray(), ")"u8.ToArray(),
        "."u8.ToArray(), ".."u8.ToArray(), "-"u8.ToArray(), "0"u8.ToArray(), "-1"u8.ToArray(), "4294967296"u8.ToArray(), "9223372036854775808"u8.ToArray(), "%00"u8.ToArray(), "[::1]"u8.ToArray(),
        " and "u8.ToArray(), " or "u8.ToArray(), "{"u8.ToArray(), "}"u8.ToArray(), "["u8.ToArray(), "]"u8.ToArray(), "null"u8.ToArray(),
    ];
}
