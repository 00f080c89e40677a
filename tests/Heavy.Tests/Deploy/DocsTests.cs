using Gateway.Tests.Harness;

namespace Gateway.Tests.Deploy;

/// <summary>The pages that take somebody new from nothing to a gateway that serves: every command of them is run (tests/docs/walk).</summary>
[Collection(nameof(Alone))]
public sealed class DocsTests
{
    [Fact]
    public async Task Every_command_of_the_quick_start_and_of_the_page_for_one_machine_works()
    {
        await using var walk = ChildProcess.Start(Repository.File("tests/docs/walk"), []);
        var status = await walk.ExitsWithinAsync(TimeSpan.FromMinutes(15));

        TestContext.Current.TestOutputHelper?.WriteLine(walk.Output);
        Assert.Equal(0, status);
        Assert.EndsWith("25 commands, 0 failed", walk.Output.TrimEnd(), StringComparison.Ordinal);
    }
}
