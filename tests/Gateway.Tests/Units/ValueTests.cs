using Gateway.Devices;
using Gateway.Listeners;
using Tunnel.Protocol;
using Tunnel.Protocol.DeviceSide;

namespace Gateway.Tests.Units;

/// <summary>Values that can be wrong, at their border.</summary>
public sealed class ValueTests
{
    [Theory]
    [InlineData("0123456789abcdef0123456789abcdef", true)]
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd", true)]
    [InlineData("", false)]
    [InlineData("0123456789abcdef0123456789abcde", false)]
    [InlineData("0123456789abcdef0123456789abcdef0", false)]
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc", false)]
    [InlineData("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde", false)]
    [InlineData("0123456789ABCDEF0123456789abcdef", false)]
    [InlineData("0123456789abcdef0123456789abcdeg", false)]
    [InlineData(" 123456789abcdef0123456789abcdef", false)]
    [InlineData("\uff10123456789abcdef0123456789abcdef", false)]
    public void An_identity_is_32_or_62_lower_case_hex_digits(string text, bool valid)
    {
        Assert.Equal(valid, DeviceUuid.TryParse(text, null, out var uuid));
        Assert.Equal(valid ? text : "", uuid.ToString());
        if (!valid)
        {
            Assert.Contains("32 (or 62)", Assert.Throws<FormatException>(() => DeviceUuid.Parse(text)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void New_identities_are_valid_and_differ()
    {
        var uuids = Enumerable.Range(0, 1000).Select(static _ => DeviceUuid.New().ToString()).ToList();

        Assert.All(uuids, static uuid => Assert.True(DeviceUuid.TryParse(uuid, null, out _)));
        Assert.Equal(uuids.Count, uuids.Distinct(StringComparer.Ordinal).Count());
    }

    [Theory]
    [InlineData("*:8080", true)]
    [InlineData("127.0.0.1:8080", true)]
    [InlineData("0.0.0.0:0", true)]
    [InlineData("[::1]:8080", true)]
    [InlineData("[::]:65535", true)]
    [InlineData("unix:/run/gateway.sock", true)]
    [InlineData("unix:", false)]
    [InlineData("8080", false)]
    [InlineData(":8080", false)]
    [InlineData("*", false)]
    [InlineData("*:", false)]
    [InlineData("*:65536", false)]
    [InlineData("*:-1", false)]
    [InlineData("127.0.0.1", false)]
    [InlineData("[::1]", false)]
    [InlineData("::1:8080", false)]
    [InlineData("localhost:8080", false)]
    [InlineData("http://*:8080", false)]
    public void An_address_to_listen_on_has_a_port(string text, bool valid) => Assert.Equal(valid, ListenAddress.TryParse(text, out _));

    [Fact]
    public void Only_the_hash_of_a_key_is_kept_and_only_the_key_matches_it()
    {
        var (key, hash) = DeviceKeyHash.New();

        Assert.StartsWith("dgk_", key, StringComparison.Ordinal);
        Assert.Matches("^[0-9a-f]{64}$", hash.ToString());
        Assert.DoesNotContain(key, hash.ToString(), StringComparison.Ordinal);
        Assert.True(DeviceKeyHash.TryParse(hash.ToString(), out var read));
        Assert.True(read.Matches(key));
        Assert.False(read.Matches(key + "x"));
        Assert.False(read.Matches(""));
        Assert.NotEqual(key, DeviceKeyHash.New().Key);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("abc")]
    [InlineData("g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    public void A_hash_that_is_none_is_not_read(string? text) => Assert.False(DeviceKeyHash.TryParse(text, out _));

    [Fact]
    public void Pauses_are_random_below_a_bound_that_doubles_up_to_a_limit()
    {
        var bounds = new[] { 1, 2, 4, 8, 16, 32, 60, 60, 60 };
        foreach (var (share, random) in new[] { (0.0, new FixedRandom(0.0)), (0.5, new FixedRandom(0.5)), (0.999, new FixedRandom(0.999)) })
        {
            var backoff = new Backoff(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60), random);
            foreach (var bound in bounds)
            {
                Assert.Equal(bound * share, backoff.Next().TotalSeconds, 6);
            }

            backoff.Reset();
            Assert.Equal(share, backoff.Next().TotalSeconds, 6);
        }
    }

    [Fact]
    public void What_the_gateway_asks_to_wait_is_waited_and_more_so_that_not_all_come_at_once()
    {
        var backoff = new Backoff(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60), new FixedRandom(0.5));

        Assert.Equal(TimeSpan.FromSeconds(30.5), backoff.Next(TimeSpan.FromSeconds(30)));
        Assert.Equal(TimeSpan.FromSeconds(31), backoff.Next(TimeSpan.FromSeconds(30)));
    }

    private sealed class FixedRandom(double value) : Random
    {
        public override double NextDouble() => value;
    }
}
