namespace Gateway.Edge;

/// <summary>What the rooms that a visit passes write down for <see cref="VisitObserver"/>; there only while somebody observes.</summary>
internal sealed class VisitNotes
{
    /// <summary>Why the gateway answered itself; null when the answer is the application's.</summary>
    public string? Failure { get; set; }
}
