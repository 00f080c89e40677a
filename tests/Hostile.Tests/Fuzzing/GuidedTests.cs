using System.Reflection;
using System.Runtime.ExceptionServices;
using System.Runtime.Loader;
using Gateway.Tests.Harness;
using SharpFuzz;

namespace Gateway.Tests.Fuzzing;

/// <summary>
/// The parsers' tests once more, on copies of the gateway's assemblies that count which branches they take: inputs are led to where none has
/// been. The copies live in a load context of their own, so that everything else in this process is as it was built.
/// </summary>
[Collection(nameof(Alone))]
public sealed class GuidedTests
{
    /// <summary>Each test that feeds a parser.</summary>
    public static TheoryData<string, string> Parsers
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var type in new[] { typeof(ParserTests), typeof(AcmeTests), typeof(RevocationTests) })
            {
                foreach (var method in type.GetMethods().Where(static method => method.GetCustomAttribute<FactAttribute>() is not null))
                {
                    all.Add(type.Name, method.Name);
                }
            }

            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Parsers))]
    public void A_parser_takes_what_leads_to_branches_that_nothing_has_reached(string type, string method)
    {
        var here = Instrumented.Shared.LoadFromAssemblyPath(typeof(GuidedTests).Assembly.Location);
        var guide = Activator.CreateInstance(here.GetType(typeof(Coverage).FullName!)!);
        here.GetType(typeof(Fuzzer).FullName!)!.GetProperty(nameof(Fuzzer.Guide), BindingFlags.Static | BindingFlags.NonPublic)!.SetValue(null, guide);
        var parser = here.GetType($"{typeof(GuidedTests).Namespace}.{type}")!;
        try
        {
            parser.GetMethod(method)!.Invoke(Activator.CreateInstance(parser), null);
        }
        catch (TargetInvocationException exception)
        {
            ExceptionDispatchInfo.Throw(exception.InnerException!);
        }

        Assert.True((int)guide!.GetType().GetProperty(nameof(Coverage.Edges))!.GetValue(guide)! > 10, "The parser is not instrumented.");
    }

    private sealed class Instrumented : AssemblyLoadContext
    {
        private static readonly string[] Ours = ["gateway", "Tunnel.Protocol"];

        public static Instrumented Shared { get; } = new();

        protected override Assembly? Load(AssemblyName assemblyName)
        {
            if (!Ours.Contains(assemblyName.Name, StringComparer.Ordinal))
            {
                return null;
            }

            var copy = Path.GetTempFileName();
            try
            {
                File.Copy(Path.Combine(AppContext.BaseDirectory, $"{assemblyName.Name}.dll"), copy, overwrite: true);
                SharpFuzz.Fuzzer.Instrument(copy, static _ => true, Options.Value);
                using var instrumented = new MemoryStream(File.ReadAllBytes(copy));
                return LoadFromStream(instrumented);
            }
            finally
            {
                File.Delete(copy);
            }
        }
    }
}
