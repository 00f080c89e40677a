namespace Bench.Measurements;

/// <summary>All measurements, in the order in which they are made: those of the peers first, for they share what is started.</summary>
internal static class AllMeasurements
{
    public static readonly Measurement[] OfPeers = [PeerMeasurements.Small, PeerMeasurements.One, PeerMeasurements.Big];

    public static readonly Measurement[] List =
    [
        .. OfPeers, NewConnections.Measurement, LongLines.Measurement, TunnelMeasurements.Idle, TunnelMeasurements.Handshakes, TunnelMeasurements.Cluster, Soak.Measurement,
    ];
}
