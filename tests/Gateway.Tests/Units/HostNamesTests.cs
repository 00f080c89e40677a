using Gateway.Listeners;
using Microsoft.Extensions.Options;

namespace Gateway.Tests;

public sealed class HostNamesTests
{
    [Theory]
    [InlineData("localhost", "gateway.localhost")]
    [InlineData("gateway.localhost", "localhost")]
    public void A_domain_may_be_a_part_of_another_one_in_whatever_order_they_stand(string first, string second)
    {
        var options = new DomainOptions();
        options.Domains.Add(first);
        options.Domains.Add(second);
        var hosts = new HostNames(Options.Create(options));
        var uuid = new string('a', 32);

        Assert.True(hosts.TryGetDevice($"{uuid}.localhost:8080", out _));
        Assert.True(hosts.TryGetDevice($"{uuid}.gateway.localhost", out _));
        Assert.True(hosts.IsTunnel("tunnel.gateway.localhost"));
        Assert.False(hosts.TryGetDevice($"{uuid}.other.gateway.localhost", out _));
    }
}
