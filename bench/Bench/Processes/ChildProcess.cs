using System.Diagnostics;

namespace Bench.Processes;

/// <summary>A program that the bench started, and what it said last.</summary>
internal sealed class ChildProcess : IAsyncDisposable
{
    private const int MaxLines = 2000;

    /// <summary>How long a program may take to end by itself after SIGTERM.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    private readonly Process _process;
    private readonly LinkedList<string> _lines = [];
    private readonly Task _reading;
    private long _read;
    private TaskCompletionSource _said = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ChildProcess(string name, ProcessStartInfo start)
    {
        Name = name;
        start.RedirectStandardInput = start.RedirectStandardOutput = start.RedirectStandardError = true;
        try
        {
            _process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new BenchException($"{name} does not start: {exception.Message}");
        }

        _reading = Task.WhenAll(ReadAsync(_process.StandardOutput), ReadAsync(_process.StandardError));
    }

    public string Name { get; }

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    /// <summary>The last lines of standard output and standard error.</summary>
    public string Output
    {
        get
        {
            lock (_lines)
            {
                return string.Join('\n', _lines);
            }
        }
    }

    /// <summary>Sends a line to its standard input.</summary>
    public async Task TellAsync(string line)
    {
        await _process.StandardInput.WriteLineAsync(line);
        await _process.StandardInput.FlushAsync();
    }

    /// <summary>Sends a line and waits for one that begins with a word.</summary>
    public async Task<string> AskAsync(string line, string answer, TimeSpan limit, CancellationToken cancellationToken)
    {
        var before = Volatile.Read(ref _read);
        await TellAsync(line);
        return await WaitForLineAsync(answer, limit, cancellationToken, before);
    }

    /// <summary>Waits until it has said a line that holds a text, among those after the first <paramref name="after"/> lines.</summary>
    public async Task<string> WaitForLineAsync(string text, TimeSpan limit, CancellationToken cancellationToken, long after = 0)
    {
        using var timer = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timer.CancelAfter(limit);
        while (true)
        {
            var ended = _reading.IsCompleted;
            Task more;
            lock (_lines)
            {
                more = _said.Task;
                if (_lines.Skip((int)Math.Max(0, after - (_read - _lines.Count))).FirstOrDefault(line => line.Contains(text, StringComparison.Ordinal)) is { } found)
                {
                    return found;
                }
            }

            if (ended)
            {
                throw new BenchException($"{Name} ended and did not say \"{text}\" but: {Output}");
            }

            try
            {
                await Task.WhenAny(more, _reading).WaitAsync(timer.Token);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw new BenchException($"{Name} did not say \"{text}\" within {limit.TotalSeconds:0} s but: {Output}");
            }
        }
    }

    /// <summary>Waits for its end and the last of its output.</summary>
    public async Task WaitForExitAsync(CancellationToken cancellationToken)
    {
        await _process.WaitForExitAsync(cancellationToken);
        await _reading.WaitAsync(cancellationToken);
    }

    /// <summary>Ends it and what it started: SIGTERM, and SIGKILL for what is still there after some seconds.</summary>
    public async ValueTask DisposeAsync()
    {
        // Children that outlive their parent belong to no tree any more: they are noted first.
        var tree = ProcFs.Tree([_process.Id]);
        if (!_process.HasExited)
        {
            _ = Native.Kill(_process.Id, Native.SigTerm);
            using var patience = new CancellationTokenSource(Patience);
            await _process.WaitForExitAsync(patience.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        foreach (var pid in ProcFs.Tree(tree))
        {
            _ = Native.Kill(pid, Native.SigKill);
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private async Task ReadAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            lock (_lines)
            {
                _lines.AddLast(line);
                _read++;
                if (_lines.Count > MaxLines)
                {
                    _lines.RemoveFirst();
                }

                _said.SetResult();
                _said = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }
        }
    }
}
