using System.Diagnostics;
using System.Text;

namespace Gateway.Tests.Harness;

/// <summary>A program that a test starts, whose output it can wait for.</summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly StringBuilder _output = new();
    private readonly Task _reading;
    private bool _disposed;

    private ChildProcess(Process process)
    {
        _process = process;
        _reading = Task.WhenAll(ReadAsync(process.StandardOutput), ReadAsync(process.StandardError));
    }

    /// <summary>Standard output and standard error so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
            {
                return _output.ToString();
            }
        }
    }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>Starts a command line, the program first.</summary>
    public static ChildProcess Start(IReadOnlyList<string> command, Dictionary<string, string?>? environment = null) =>
        Start(command[0], command.Skip(1), environment);

    public static ChildProcess Start(string program, IEnumerable<string> arguments, Dictionary<string, string?>? environment = null, string? workingDirectory = null)
    {
        var start = new ProcessStartInfo(program, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            WorkingDirectory = workingDirectory ?? "",
        };
        foreach (var (name, value) in environment ?? [])
        {
            start.Environment[name] = value;
        }

        return new ChildProcess(Process.Start(start)!);
    }

    /// <summary>One of the project's own executables, built beside the tests.</summary>
    public static ChildProcess StartOwn(string name, IEnumerable<string> arguments, Dictionary<string, string?>? environment = null, string? workingDirectory = null) =>
        Start("dotnet", [Path.Combine(AppContext.BaseDirectory, $"{name}.dll"), .. arguments], environment, workingDirectory);

    /// <summary>Waits until the program has said something; fails as soon as it can no longer do so.</summary>
    public async Task WaitForOutputAsync(string text)
    {
        var started = Stopwatch.GetTimestamp();
        while (!Output.Contains(text, StringComparison.Ordinal))
        {
            Assert.False(_reading.IsCompleted && !Output.Contains(text, StringComparison.Ordinal), $"The program ended and did not say \"{text}\" but: {Output}");
            Assert.True(Stopwatch.GetElapsedTime(started) < Eventually.Patience, $"The program did not say \"{text}\" but: {Output}");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Waits for the end, and for the last of the output.</summary>
    /// <returns>The exit status.</returns>
    public Task<int> WaitForExitAsync() => ExitsWithinAsync(Eventually.Patience);

    /// <summary>The same, for what takes longer.</summary>
    public async Task<int> ExitsWithinAsync(TimeSpan limit)
    {
        using var patience = new CancellationTokenSource(limit);
        await _process.WaitForExitAsync(patience.Token);
        await _reading;
        return _process.ExitCode;
    }

    /// <summary>SIGKILL.</summary>
    public void Kill() => _process.Kill();

    /// <summary>Sends a signal by its name, TERM for example.</summary>
    public void Signal(string name)
    {
        using var kill = Process.Start("kill", [$"-{name}", $"{_process.Id}"]);
        kill.WaitForExit();
    }

    public async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!_process.HasExited)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
        }

        _process.Dispose();
    }

    private async Task ReadAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            lock (_output)
            {
                _output.AppendLine(line);
            }
        }
    }
}
