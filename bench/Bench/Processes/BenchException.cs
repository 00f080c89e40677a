namespace Bench.Processes;

/// <summary>What a person can act upon: shown without a stack trace.</summary>
internal sealed class BenchException(string message) : Exception(message);
