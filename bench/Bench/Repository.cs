namespace Bench;

/// <summary>Where the project's files are, and the programs that were built beside this one.</summary>
internal static class Repository
{
    public static string Root { get; } = Find();

    public static string Gateway => Program("src/Gateway", "gateway");
    public static string Agent => Program("src/Tunnel/Agent", "gateway-agent");
    public static string PlainYarp => Program("bench/PlainYarp", "plain-yarp");
    public static string IdleTunnels => Program("bench/IdleTunnels", "idle-tunnels");

    public static string File(string path) => Path.Combine(Root, path);

    private static string Program(string project, string name) => File($"{project}/bin/Release/net10.0/{name}");

    private static string Find()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!System.IO.File.Exists(Path.Combine(folder.FullName, "Gateway.sln")))
        {
            folder = folder.Parent ?? throw new Processes.BenchException($"{AppContext.BaseDirectory} is not inside the project's folder: start bench/run of a working copy.");
        }

        return folder.FullName;
    }
}
