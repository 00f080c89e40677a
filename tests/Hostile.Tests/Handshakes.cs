using Gateway.Tests.Harness;

namespace Gateway.Tests;

/// <summary>What devices say first.</summary>
internal static class Handshakes
{
    public static string Of(TestDevice device, string? key = null) =>
        $"GET /v1/devices/{device.Uuid}/tunnel HTTP/1.1\r\nHost: tunnel.{TestGateway.Domain}\r\nConnection: Upgrade\r\nUpgrade: ptth\r\nALPN: h2\r\nAuthorization: Bearer {key ?? device.Key}\r\n\r\n";

    /// <summary>The head of an answer; what there is of it when the connection ends before.</summary>
    public static async Task<string> ReadToBlankAsync(this RawConnection connection)
    {
        var head = new List<byte>();
        var one = new byte[1];
        using var patience = new CancellationTokenSource(Eventually.Patience);
        try
        {
            while (!head.TakeLast(4).SequenceEqual("\r\n\r\n"u8.ToArray()) && await connection.Stream.ReadAsync(one, patience.Token) == 1)
            {
                head.Add(one[0]);
            }
        }
        catch (IOException)
        {
            // A reset is an end.
        }

        return System.Text.Encoding.Latin1.GetString([.. head]);
    }
}
