namespace Gateway.Listeners.Sockets;

/// <summary>Who comes in at an address, and whether they speak TLS.</summary>
internal sealed record Door(Audience Audience, bool IsTls);
