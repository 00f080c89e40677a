using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Dns;

/// <summary>
/// The gateway's own name server: authoritative, for the few names of DNS-01 and nothing else, over UDP and TCP (RFC 7766).
/// Its answers are hardly longer than the questions, so that it is no use for reflection.
/// </summary>
internal sealed partial class DnsResponder(IOptions<CertificateOptions> options, IOptions<ListenerOptions> listen, GatewayZones zones, ILogger<DnsResponder> logger) : BackgroundService
{
    private const int Ttl = 0;
    private const int NegativeTtl = 0;
    private const int MaxTcpConnections = 100;
    private const int MaxAtOnce = 256;
    private const int EdnsPayload = 1232;
    private const int Internet = 1;

    private static readonly TimeSpan TcpIdle = TimeSpan.FromSeconds(10);

    private readonly SemaphoreSlim _atOnce = new(MaxAtOnce);
    private readonly SemaphoreSlim _connections = new(MaxTcpConnections);
    private Socket? _udp;
    private Socket? _tcp;

    /// <summary>Where it answers; null when it does not.</summary>
    public IPEndPoint? EndPoint => _udp?.LocalEndPoint as IPEndPoint;

    private bool IsUsed => options.Value is { UsesAcme: true, Source: CertificateSource.Acme, Acme: { Challenge: Acme.AcmeChallenge.Dns, Dns.Publisher: DnsPublisher.Gateway } } && listen.Value.Https.Length > 0;

    public override Task StartAsync(CancellationToken cancellationToken)
    {
        if (!IsUsed || !ListenAddress.TryParse(options.Value.Acme.Dns.Listen, out var address) || address.EndPoint is not { } endPoint)
        {
            return Task.CompletedTask;
        }

        try
        {
            _udp = Bind(endPoint, SocketType.Dgram, ProtocolType.Udp);
            _tcp = Bind(new IPEndPoint(endPoint.Address, EndPoint!.Port), SocketType.Stream, ProtocolType.Tcp);
            _tcp.Listen(64);
        }
        catch (SocketException exception)
        {
            throw new Storage.StoreUnavailableException($"{CertificateOptions.Section}:Acme:Dns:Listen {options.Value.Acme.Dns.Listen} cannot be had: {exception.Message}. Another name server may be there: give another address, and forward to it.");
        }

        LogListening(logger, EndPoint!);
        return base.StartAsync(cancellationToken);
    }

    public override void Dispose()
    {
        _udp?.Dispose();
        _tcp?.Dispose();
        _atOnce.Dispose();
        _connections.Dispose();
        base.Dispose();
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.WhenAll(ServeUdpAsync(_udp!, stoppingToken), ServeTcpAsync(_tcp!, stoppingToken));

    private static Socket Bind(IPEndPoint endPoint, SocketType type, ProtocolType protocol)
    {
        var socket = new Socket(endPoint.AddressFamily, type, protocol);
        if (endPoint.Address.Equals(IPAddress.IPv6Any))
        {
            socket.DualMode = true;
        }

        socket.Bind(endPoint);
        return socket;
    }

    private async Task ServeUdpAsync(Socket socket, CancellationToken cancellationToken)
    {
        var any = new IPEndPoint(socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        var buffer = new byte[4096];
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                var received = await socket.ReceiveFromAsync(buffer, SocketFlags.None, any, cancellationToken);

                // In a flood questions are dropped; who meant it asks again.
                if (_atOnce.Wait(0, CancellationToken.None))
                {
                    _ = AnswerUdpAsync(socket, buffer[..received.ReceivedBytes], received.RemoteEndPoint);
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException)
            {
                // A client that is not there any more.
            }
        }
    }

    private async Task AnswerUdpAsync(Socket socket, byte[] question, EndPoint client)
    {
        try
        {
            if (await AnswerAsync(question) is { } answer)
            {
                await socket.SendToAsync(answer, SocketFlags.None, client);
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // It asks again.
        }
        finally
        {
            _atOnce.Release();
        }
    }

    private async Task ServeTcpAsync(Socket listener, CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                var socket = await listener.AcceptAsync(cancellationToken);
                if (_connections.Wait(0, CancellationToken.None))
                {
                    _ = ServeConnectionAsync(socket, cancellationToken);
                }
                else
                {
                    socket.Dispose();
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException)
            {
                await Task.Delay(100, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private async Task ServeConnectionAsync(Socket socket, CancellationToken cancellationToken)
    {
        try
        {
            await using var stream = new NetworkStream(socket, ownsSocket: true);
            var length = new byte[2];
            while (true)
            {
                using var idle = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
                idle.CancelAfter(TcpIdle);
                await stream.ReadExactlyAsync(length, idle.Token);
                var question = new byte[BinaryPrimitives.ReadUInt16BigEndian(length)];
                await stream.ReadExactlyAsync(question, idle.Token);
                if (await AnswerAsync(question) is not { } answer)
                {
                    return;
                }

                BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)answer.Length);
                await stream.WriteAsync((byte[])[.. length, .. answer], idle.Token);
            }
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The client is done, or says nothing more.
        }
        finally
        {
            _connections.Release();
        }
    }

    /// <summary>The answer to a message; null when it deserves none.</summary>
    internal async Task<byte[]?> AnswerAsync(byte[] message)
    {
        if (Parse(message) is not { } question)
        {
            return null;
        }

        if (question.Code != DnsCode.NoError)
        {
            return Write(message, question, question.Code, null, [], isAuthoritative: false);
        }

        if (zones.ZoneOf(question.Name) is not { } zone)
        {
            return Write(message, question, DnsCode.Refused, null, [], isAuthoritative: false);
        }

        var isApex = question.Name.Equals(zone, StringComparison.OrdinalIgnoreCase);
        var records = new List<(DnsType Type, byte[] Data)>();
        if (question.Type is DnsType.Txt or DnsType.Any)
        {
            records.AddRange((await zones.FindTextsAsync(question.Name)).Select(static text => (DnsType.Txt, DnsWriter.Text(text))));
        }

        if (isApex && question.Type == DnsType.Ns)
        {
            records.Add((DnsType.Ns, new DnsWriter().Name(zones.ServerOf(zone)).ToArray()));
        }

        if (isApex && question.Type == DnsType.Soa)
        {
            records.Add((DnsType.Soa, Authority(zone)));
        }

        var exists = isApex || zones.Exists(question.Name);
        return Write(message, question, exists ? DnsCode.NoError : DnsCode.NameError, zone, records, isAuthoritative: true);
    }

    private static Question? Parse(ReadOnlySpan<byte> message)
    {
        if (message.Length < DnsReader.HeadLength)
        {
            return null;
        }

        var reader = new DnsReader(message);
        if ((reader.Flags & 0x8000) != 0)
        {
            return null; // a response: to answer it would make a loop
        }

        var question = new Question("", default, 0, HasEdns: false, DnsCode.FormatError);
        if (reader.Count(0) != 1 || reader.Count(1) + reader.Count(2) != 0 || reader.Count(3) > 4
            || !reader.TryName(out var name) || !reader.TryU16(out var type) || !reader.TryU16(out var @class))
        {
            return question;
        }

        var end = reader.Position;
        var hasEdns = false;
        for (var i = reader.Count(3); i > 0; i--)
        {
            if (!reader.TryRecord(out _, out var kind, out _, out _))
            {
                return question;
            }

            hasEdns |= kind == DnsType.Opt;
        }

        var code = (reader.Flags >> 11 & 0xf) != 0 ? DnsCode.NotImplemented : @class != Internet ? DnsCode.Refused : DnsCode.NoError;
        return new Question(name, (DnsType)type, end, hasEdns, code);
    }

    private byte[] Write(byte[] message, Question question, DnsCode code, string? zone, List<(DnsType Type, byte[] Data)> records, bool isAuthoritative)
    {
        // The question is repeated byte for byte: resolvers mix its case as a nonce.
        var echoed = question.End > 0 ? message.AsSpan(DnsReader.HeadLength, question.End - DnsReader.HeadLength) : default;
        var isNegative = records.Count == 0 && zone is not null;
        var answer = new DnsWriter()
            .Bytes(message.AsSpan(0, 2))
            .U16(0x8000 | (message[2] << 8 & 0x7900) | (isAuthoritative ? 0x0400 : 0) | (int)code)
            .U16(echoed.IsEmpty ? 0 : 1).U16(records.Count).U16(isNegative ? 1 : 0).U16(question.HasEdns ? 1 : 0)
            .Bytes(echoed);
        foreach (var (type, data) in records)
        {
            answer.U16(0xc000 | DnsReader.HeadLength).U16((int)type).U16(Internet).U32(Ttl).U16(data.Length).Bytes(data);
        }

        if (isNegative)
        {
            answer.Record(zone!, DnsType.Soa, Internet, NegativeTtl, Authority(zone!));
        }

        if (question.HasEdns)
        {
            answer.U8(0).U16((int)DnsType.Opt).U16(EdnsPayload).U32(0).U16(0);
        }

        return answer.ToArray();
    }

    // Nothing may be remembered, neither presence nor absence: both change within seconds.
    private byte[] Authority(string zone) =>
        new DnsWriter().Name(zones.ServerOf(zone)).Name($"hostmaster.{zone}").U32(1).U32(3600).U32(600).U32(86400).U32(NegativeTtl).ToArray();

    private sealed record Question(string Name, DnsType Type, int End, bool HasEdns, DnsCode Code);

    [LoggerMessage(Level = LogLevel.Information, Message = "Answering DNS-01 at {EndPoint}, UDP and TCP")]
    private static partial void LogListening(ILogger logger, IPEndPoint endPoint);
}
