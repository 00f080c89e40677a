namespace Bench.Measurements;

/// <summary>All measurements, in the order in which they are made: those of the peers first, for they share what is started.</summary>
internal static class AllMeasurements
{
    public static readonly Measurement[] List = [PeerMeasurements.Small, PeerMeasurements.One, PeerMeasurements.Big, TunnelMeasurements.Idle, TunnelMeasurements.Handshakes, TunnelMeasurements.Cluster];
}
