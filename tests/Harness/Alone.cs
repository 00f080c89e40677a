namespace Gateway.Tests.Harness;

/// <summary>Tests that take the whole machine for a while: nothing else runs beside them.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;
