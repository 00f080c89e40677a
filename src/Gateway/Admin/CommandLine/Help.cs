using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Gateway.Admin.CommandLine;

/// <summary>A verb with examples, which its <c>--help</c> shows at the end.</summary>
internal sealed class ExplainedCommand(string name, string description, string examples) : Command(name, description)
{
    public string Examples => examples;
}

/// <summary>The platform's help, and the examples below it.</summary>
internal sealed class HelpWithExamples(SynchronousCommandLineAction standard) : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        var status = standard.Invoke(parseResult);
        if (parseResult.CommandResult.Command is ExplainedCommand { Examples: { Length: > 0 } examples })
        {
            parseResult.InvocationConfiguration.Output.WriteLine($"{examples}\n");
        }

        return status;
    }

    public static void Use(RootCommand root)
    {
        var help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((SynchronousCommandLineAction)help.Action!);
    }
}
