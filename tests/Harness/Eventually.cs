using System.Diagnostics;

namespace Gateway.Tests.Harness;

/// <summary>Waits for what must come, for as long as a slow machine may need.</summary>
internal static class Eventually
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static Task TrueAsync(Func<bool> condition, string what) => TrueAsync(() => Task.FromResult(condition()), what);

    public static async Task TrueAsync(Func<Task<bool>> condition, string what)
    {
        var started = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            Assert.True(Stopwatch.GetElapsedTime(started) < Patience, $"Waited {Patience.TotalSeconds} s in vain until: {what}.");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Waits until a figure stays as it is for half a second.</summary>
    public static async Task StillAsync(Func<long> figure, string what)
    {
        var (last, since) = (figure(), Stopwatch.GetTimestamp());
        await TrueAsync(
            () =>
            {
                if (figure() is var now && now != last)
                {
                    (last, since) = (now, Stopwatch.GetTimestamp());
                }

                return Stopwatch.GetElapsedTime(since) > TimeSpan.FromSeconds(0.5);
            },
            what);
    }

    /// <summary>The task's result, or a failure that names what did not come.</summary>
    public static async Task<T> ResultAsync<T>(Task<T> task, string what)
    {
        Assert.True(await Task.WhenAny(task, Task.Delay(Patience)) == task, $"Waited {Patience.TotalSeconds} s in vain for: {what}.");
        return await task;
    }

    /// <summary>Waits for the task's end, be it a success or a fault.</summary>
    public static async Task EndsAsync(Task task, string what) =>
        Assert.True(await Task.WhenAny(task, Task.Delay(Patience)) == task, $"Waited {Patience.TotalSeconds} s in vain for: {what}.");
}
