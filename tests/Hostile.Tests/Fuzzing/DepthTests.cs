using Gateway.Admin.Api;
using Gateway.Admin.Balena;

namespace Gateway.Tests.Fuzzing;

/// <summary>What is nested without end must not take the stack with it: that cannot be caught.</summary>
public sealed class DepthTests
{
    [Theory]
    [InlineData(16)]
    [InlineData(20_000)]
    public void A_filter_of_OData_is_nested_as_deeply_as_anybody_needs_and_no_deeper(int depth)
    {
        var filter = $"{new string('(', depth)}id eq 1{new string(')', depth)}";

        if (depth < 100)
        {
            Assert.True(ODataFilter.Parse(filter).Matches(static _ => 1L));
        }
        else
        {
            Assert.Contains("nested", Assert.Throws<ApiException>(() => ODataFilter.Parse(filter)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_filter_of_OData_with_very_many_terms_is_judged() =>
        Assert.True(ODataFilter.Parse(string.Join(" or ", Enumerable.Repeat("id eq 2", 3000).Append("id eq 1"))).Matches(static _ => 1L));
}
