using System.Buffers.Binary;
using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Dns;

/// <summary>Publishes at a name server that takes updates (RFC 2136), signed with TSIG, over TCP.</summary>
internal sealed class DynamicUpdatePublisher(IOptions<CertificateOptions> options, TimeProvider time) : IDnsPublisher
{
    private const int UpdateOperation = 5 << 11;
    private const int Internet = 1;
    private const int None = 254;
    private const int Ttl = 60;
    private const int DefaultPort = 53;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private readonly DnsOptions _options = options.Value.Acme.Dns;

    public Task AddAsync(string domain, string value, CancellationToken cancellationToken) =>
        UpdateAsync(domain, (update, name) => update.Record(name, DnsType.Txt, Internet, Ttl, DnsWriter.Text(value)), cancellationToken);

    // RFC 2136 section 2.5.4: this one record, and no other of the name.
    public Task RemoveAsync(string domain, string value, CancellationToken cancellationToken) =>
        UpdateAsync(domain, (update, name) => update.Record(name, DnsType.Txt, None, 0, DnsWriter.Text(value)), cancellationToken);

    private async Task UpdateAsync(string domain, Action<DnsWriter, string> write, CancellationToken cancellationToken)
    {
        var zone = _options.UpdateZone.Length > 0 ? _options.UpdateZone : domain;
        var name = DnsNames.ChallengeOf(domain);
        if (!TsigKey.TryCreate(_options, out var key))
        {
            throw new DnsPublishException("Certificates:Acme:Dns has no usable TSIG key.");
        }

        var update = new DnsWriter().U16(RandomNumberGenerator.GetInt32(0x10000)).U16(UpdateOperation).U16(1).U16(0).U16(1).U16(0)
            .Name(zone).U16((int)DnsType.Soa).U16(Internet);
        write(update, name);
        var (request, mac) = key.Sign(update.ToArray(), time.GetUtcNow());

        byte[] answer;
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(Patience);
        try
        {
            answer = await ExchangeAsync(request, timeout.Token);
        }
        catch (Exception exception) when (exception is SocketException or IOException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            throw new DnsPublishException($"The name server {_options.Server} does not take the update of {name}: {(exception is OperationCanceledException ? $"no answer within {Patience.TotalSeconds} s" : exception.Message)}", exception);
        }

        if (Explain(request, answer, key, mac) is { } wrong)
        {
            throw new DnsPublishException($"The name server {_options.Server} did not update {name} in the zone {zone}: {wrong}.");
        }
    }

    private async Task<byte[]> ExchangeAsync(byte[] request, CancellationToken cancellationToken)
    {
        var (host, port) = SplitPort(_options.Server);
        using var client = new TcpClient();
        await client.ConnectAsync(host, port, cancellationToken);
        var stream = client.GetStream();
        var length = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)request.Length);
        await stream.WriteAsync((byte[])[.. length, .. request], cancellationToken);
        await stream.ReadExactlyAsync(length, cancellationToken);
        var answer = new byte[BinaryPrimitives.ReadUInt16BigEndian(length)];
        await stream.ReadExactlyAsync(answer, cancellationToken);
        return answer;
    }

    private string? Explain(byte[] request, byte[] answer, TsigKey key, byte[] mac)
    {
        if (answer.Length < DnsReader.HeadLength || !answer.AsSpan(0, 2).SequenceEqual(request.AsSpan(0, 2)))
        {
            return "its answer is to another question";
        }

        var code = (DnsCode)(answer[3] & 0xf);
        var signature = key.Verify(answer, mac, time.GetUtcNow());
        return code switch
        {
            DnsCode.NoError => signature,
            DnsCode.Refused => "REFUSED: the key may not change this name (update-policy, allow-update)",
            DnsCode.NotAuthoritative when signature is not null => $"NOTAUTH, {signature}",
            DnsCode.NotAuthoritative => "NOTAUTH: it has no such zone: set Certificates:Acme:Dns:UpdateZone",
            _ => $"{code}{(signature is null ? "" : $", {signature}")}",
        };
    }

    // host, host:port, 192.0.2.1:53, [2001:db8::1]:53
    private static (string Host, int Port) SplitPort(string server)
    {
        var colon = server.LastIndexOf(':');
        var hasPort = colon > server.LastIndexOf(']') && server.IndexOf(':', StringComparison.Ordinal) == colon || server.StartsWith('[') && colon > server.IndexOf(']', StringComparison.Ordinal);
        return hasPort && int.TryParse(server.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port)
            ? (server[..colon].Trim('[', ']'), port)
            : (server.Trim('[', ']'), DefaultPort);
    }
}
