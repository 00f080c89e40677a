using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Bench.Processes;

/// <summary>
/// What is started for a measurement: processes, network namespaces, a temporary folder. Disposing ends and removes all of it,
/// the last first.
/// </summary>
/// <param name="oneGroup">Whether programs stay in the bench's own session instead of one each.</param>
/// <param name="stopping">Cancelled with Ctrl-C.</param>
internal sealed class Stage(bool oneGroup, CancellationToken stopping) : IAsyncDisposable
{
    private static int _networks;

    private readonly Stack<Func<ValueTask>> _ends = new();
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-bench-");

    public CancellationToken Stopping => stopping;

    /// <summary>A path in the temporary folder.</summary>
    public string PathOf(string name) => Path.Combine(_folder.FullName, name);

    /// <summary>Writes a file into the temporary folder.</summary>
    /// <returns>Its path.</returns>
    public string Write(string name, string content)
    {
        File.WriteAllText(PathOf(name), content);
        return PathOf(name);
    }

    /// <summary>What to do at the end.</summary>
    public void AtEnd(Func<ValueTask> end) => _ends.Push(end);

    /// <summary>Starts a program. Its id is the program's own, for what stands before it here replaces itself.</summary>
    /// <param name="command">The program and its arguments.</param>
    /// <param name="network">The namespace to start it in; null for the machine's own network.</param>
    public ChildProcess Start(string name, IEnumerable<string> command, string? network = null)
    {
        stopping.ThrowIfCancellationRequested();
        var process = Launch(name, command, network);
        _ends.Push(process.DisposeAsync);
        return process;
    }

    /// <summary>Runs a program to its end.</summary>
    /// <returns>What it said.</returns>
    /// <exception cref="BenchException">Its status was not 0.</exception>
    public async Task<string> RunAsync(string name, IEnumerable<string> command, string? network = null)
    {
        var process = Launch(name, command, network);
        await using (process)
        {
            await process.WaitForExitAsync(stopping);
            return process.ExitCode == 0 ? process.Output : throw new BenchException($"{name} ended with status {process.ExitCode}: {process.Output}");
        }
    }

    /// <summary>Makes a network of its own, with loopback.</summary>
    /// <returns>Its name.</returns>
    public async Task<string> NetworkAsync()
    {
        var name = string.Create(CultureInfo.InvariantCulture, $"bench{Environment.ProcessId}-{Interlocked.Increment(ref _networks)}");
        await RunAsync("ip", ["ip", "netns", "add", name]);
        _ends.Push(async () => await EndAsync(["ip", "netns", "delete", name]));
        await RunAsync("ip", ["ip", "-n", name, "link", "set", "lo", "up"]);
        return name;
    }

    /// <summary>Names that programs of a network know, as in /etc/hosts.</summary>
    public void Hosts(string network, string lines)
    {
        var folder = Directory.CreateDirectory($"/etc/netns/{network}");
        _ends.Push(() =>
        {
            folder.Delete(recursive: true);
            return ValueTask.CompletedTask;
        });
        File.WriteAllText(Path.Combine(folder.FullName, "hosts"), $"127.0.0.1 localhost\n{lines}\n");
    }

    /// <summary>A port on which nobody listens, outside of the range that the kernel gives to callers.</summary>
    public static int FreePort()
    {
        while (true)
        {
            var port = Random.Shared.Next(20000, 30000);
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
                return port;
            }
            catch (SocketException)
            {
                // Taken.
            }
        }
    }

    /// <summary>Tries until it succeeds.</summary>
    /// <param name="process">Whose end ends the trying; null for none.</param>
    public async Task UntilAsync(string what, Func<Task<bool>> succeeds, ChildProcess? process = null, int seconds = 30)
    {
        var started = Stopwatch.GetTimestamp();
        while (!await succeeds())
        {
            if (process is { HasExited: true } || Stopwatch.GetElapsedTime(started) > TimeSpan.FromSeconds(seconds))
            {
                throw new BenchException($"{what}{(process is null ? "" : $"; {process.Name} said: {process.Output}")}");
            }

            await Task.Delay(100, stopping);
        }
    }

    public async ValueTask DisposeAsync()
    {
        while (_ends.TryPop(out var end))
        {
            try
            {
                await end();
            }
            catch (Exception exception) when (exception is BenchException or IOException or InvalidOperationException)
            {
                // The rest is ended all the same.
                await Console.Error.WriteLineAsync($"bench: while ending: {exception.Message}");
            }
        }

        _folder.Delete(recursive: true);
    }

    /// <summary>The same for a program that whoever starts it ends.</summary>
    public ChildProcess Launch(string name, IEnumerable<string> command, string? network = null)
    {
        string[] all = [.. network is null ? [] : (string[])["ip", "netns", "exec", network], .. oneGroup ? [] : (string[])["setsid"], .. command];
        var start = new ProcessStartInfo(all[0], all[1..]) { WorkingDirectory = _folder.FullName };
        return new ChildProcess(name, start);
    }

    private static async Task EndAsync(string[] command)
    {
        await using var process = new ChildProcess(command[0], new ProcessStartInfo(command[0], command[1..]));
        await process.WaitForExitAsync(CancellationToken.None);
    }
}
