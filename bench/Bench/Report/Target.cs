using System.Globalization;

namespace Bench.Report;

/// <summary>A figure that the project wants to reach, beside what was measured.</summary>
internal sealed record Target(string What, double? Measured, double Bound, bool AtLeast, int Decimals = 2)
{
    public static Target Least(string what, double? measured, double bound, int decimals = 2) => new(what, measured, bound, true, decimals);

    public static Target Most(string what, double? measured, double bound, int decimals = 2) => new(what, measured, bound, false, decimals);

    public bool IsHeld => Measured is { } measured && (AtLeast ? measured >= Bound : measured <= Bound);

    /// <summary>An item of a list; empty when it was not measured in this run.</summary>
    public override string ToString() => Measured is not { } measured
        ? ""
        : string.Create(
            CultureInfo.InvariantCulture,
            $"* {What}: {MarkdownTable.Number(measured, Decimals)}, the target is {(AtLeast ? "at least" : "at most")} {MarkdownTable.Number(Bound, Decimals)}: {(IsHeld ? "held" : "**missed**")}\n");
}
