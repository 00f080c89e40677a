using System.Text;
using Gateway.Admin.Api;
using Gateway.Admin.Balena;
using Gateway.Admin.CommandLine;
using Gateway.Certificates.Dns;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Listeners.Http1;
using Gateway.Listeners.Proxy;
using Gateway.Listeners.Tls;
using Gateway.Tests.Harness;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;
using Tunnel.Protocol;
using Tunnel.Protocol.GatewaySide;

namespace Gateway.Tests.Fuzzing;

/// <summary>Each parser of ours takes whatever comes, and what it says is so.</summary>
[Collection(nameof(Alone))]
public sealed class ParserTests
{
    [Fact]
    public void A_host_is_a_device_only_when_it_begins_with_its_uuid()
    {
        var domains = new DomainOptions();
        domains.Domains.Add("gateway.localhost");
        domains.Domains.Add("resindevice.io");
        var hosts = new HostNames(Options.Create(domains));

        Fuzzer.RunText("host", text =>
        {
            if (hosts.TryGetDevice(text, out var uuid))
            {
                Assert.StartsWith($"{uuid}.", text, StringComparison.OrdinalIgnoreCase);
                Assert.True(DeviceUuid.TryParse($"{uuid}", null, out _));
                Assert.False(hosts.IsTunnel(text));
            }

            _ = hosts.IsBaseOrAbove(text);
        });
    }

    [Fact]
    public void A_uuid_and_a_domain_and_a_hash_are_what_they_are_read_from() => Fuzzer.RunText("names", static text =>
    {
        Assert.True(!DeviceUuid.TryParse(text, null, out var uuid) || uuid.ToString() == text);
        Assert.True(!DeviceKeyHash.TryParse(text, out var hash) || hash.ToString().Equals(text, StringComparison.OrdinalIgnoreCase));
        if (DomainName.TryParse(text, out var name))
        {
            Assert.True(DomainName.TryParse($"{name}", out var again));
            Assert.Equal(name, again);
        }

        _ = ListenAddress.TryParse(text, out _);
    });

    [Fact]
    public void A_request_of_HTTP_1_is_judged_alike_however_it_is_cut() => Fuzzer.Run("http1", static bytes =>
    {
        var whole = new Http1Framing();
        whole.Observe(bytes);
        var pieces = new Http1Framing();
        for (var at = 0; at < bytes.Length; at += 7)
        {
            pieces.Observe(bytes.AsSpan(at, Math.Min(7, bytes.Length - at)));
        }

        Assert.Equal(whole.Violation, pieces.Violation);
    });

    [Fact]
    public void Frames_of_a_tunnel_are_followed_alike_however_they_are_cut() => Fuzzer.Run("frames", static bytes =>
    {
        static List<FrameHead> Heads(byte[] bytes, int size)
        {
            var reader = default(FrameHeads);
            var heads = new List<FrameHead>();
            for (var at = 0; at < bytes.Length; at += size)
            {
                ReadOnlySpan<byte> piece = bytes.AsSpan(at, Math.Min(size, bytes.Length - at));
                while (reader.TryRead(ref piece, out var head))
                {
                    heads.Add(head);
                }

                Assert.True(piece.IsEmpty);
            }

            return heads;
        }

        Assert.Equal(Heads(bytes, Math.Max(1, bytes.Length)), Heads(bytes, 3));
        var watch = new FrameWatch();
        watch.Send(bytes);
        _ = watch.Receive(bytes);
    });

    [Fact]
    public void A_head_of_the_PROXY_protocol_lies_within_what_has_come_and_is_none_before_it_is_whole() => Fuzzer.Run("proxy", static bytes =>
    {
        if (ProxyHeader.TryParse(bytes, out var header) == true)
        {
            Assert.InRange(header.Length, 1, bytes.Length);
            Assert.True(ProxyHeader.TryParse(bytes.AsSpan(0, header.Length), out var alone));
            Assert.Equal(header, alone);
            Assert.Null(ProxyHeader.TryParse(bytes.AsSpan(0, header.Length - 1), out _));
        }
    });

    [Fact]
    public void A_message_of_the_DNS_is_read_within_its_bounds_and_to_an_end()
    {
        Assert.True(TsigKey.TryCreate(new DnsOptions { TsigName = "gateway.", TsigKey = Convert.ToBase64String(new byte[32]) }, out var key));

        Fuzzer.Run("dns", bytes =>
        {
            if (bytes.Length < DnsReader.HeadLength)
            {
                return;
            }

            var reader = new DnsReader(bytes);
            _ = reader.Id + reader.Flags + reader.Count(0) + reader.Count(3);
            if (reader.TryName(out var name))
            {
                Assert.InRange(name.Length, 0, 255);
            }

            while (reader.TryRecord(out _, out _, out _, out _))
            {
                Assert.InRange(reader.Position, DnsReader.HeadLength, bytes.Length);
            }

            Assert.NotNull(key.Verify(bytes, new byte[32], DateTimeOffset.UnixEpoch));
        });
    }

    [Fact]
    public void A_filter_of_OData_is_read_or_refused() => Fuzzer.RunText("odata", static text =>
    {
        try
        {
            _ = ODataFilter.Parse(text).Matches(static name => name == "id" ? 77L : "text");
        }
        catch (ApiException)
        {
            // Refused, and said why.
        }
    });

    [Fact]
    public void A_configuration_is_read_or_refused_with_its_key() => Fuzzer.RunText("configuration", static text =>
    {
        var pairs = text.Split('|').Select(static pair => pair.Split('=', 2)).Where(static pair => pair.Length == 2 && pair[0].Length > 0)
            .DistinctBy(static pair => pair[0], StringComparer.OrdinalIgnoreCase).Select(static pair => new KeyValuePair<string, string?>(pair[0], pair[1]));
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(pairs).Build();
        try
        {
            KnownSettings.Check(configuration);
        }
        catch (ConfigurationException exception)
        {
            Assert.NotEmpty(exception.Message);
        }
    });

    [Fact]
    public void The_name_that_a_TLS_client_wants_is_one_that_it_has_said() => Fuzzer.Run("clienthello", static bytes =>
    {
        var name = ClientHello.ServerNameOf(bytes);
        Assert.InRange(name.Length, 0, bytes.Length);
        Assert.True(name.Contains('?', StringComparison.Ordinal) || bytes.AsSpan().IndexOf(Encoding.ASCII.GetBytes(name)) >= 0);

        // What is said before the record is whole stands when more has come.
        var isWhole = ClientHello.TryParse(bytes, out var hello);
        var before = ClientHello.TryParse(bytes.AsSpan(0, bytes.Length / 2), out var early);
        Assert.True(before is null || (before == isWhole && early == hello));
    });

    [Fact]
    public void A_handshake_of_a_device_is_judged_whatever_it_says() => Fuzzer.RunText("handshake", static text =>
    {
        var parts = text.Split('|').Concat(Enumerable.Repeat("", 6)).Take(6).ToList();
        var context = new DefaultHttpContext();
        context.Features.Set<IHttpUpgradeFeature>(new Upgradable());
        (context.Request.Method, context.Request.Protocol) = (parts[0], parts[1]);
        var fields = context.Request.Headers;
        (fields.Upgrade, fields["ALPN"], fields["Gateway-Avoid"], fields.Authorization) = (parts[2], parts[3], parts[4], parts[5]);

        var isRight = parts[0].Equals("GET", StringComparison.OrdinalIgnoreCase) && parts[1].Equals("HTTP/1.1", StringComparison.OrdinalIgnoreCase)
            && parts[2].Equals("ptth", StringComparison.OrdinalIgnoreCase) && parts[3] == "h2";
        Assert.Equal(isRight, TunnelEndpoint.Explain(context) is null);
        Assert.Equal(parts[4].Split(',').Any(static node => node.Trim() == "node-1"), TunnelEndpoint.Avoids(context, "node-1"));
        Assert.True(DeviceKeyHash.OfBearer(context.Request).Matches(parts[5].StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? parts[5][7..].Trim() : ""));
    });

    private sealed class Upgradable : IHttpUpgradeFeature
    {
        public bool IsUpgradableRequest => true;

        public Task<Stream> UpgradeAsync() => throw new NotSupportedException("Nothing is opened.");
    }
}
