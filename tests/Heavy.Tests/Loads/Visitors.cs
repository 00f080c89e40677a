using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Heavy.Loads;

/// <summary>One request of a load.</summary>
/// <param name="At">When it was sent, since the load began.</param>
/// <param name="IsSafe">Whether its method is safe (RFC 9110 section 9.2.1).</param>
/// <param name="IsSlow">Whether the application was asked to take its time.</param>
/// <param name="Failure">What the visitor got in place of the application's answer; null when nothing was wrong.</param>
internal readonly record struct Sample(TimeSpan At, TimeSpan Took, bool IsSafe, bool IsSlow, int Device, string? Failure);

/// <summary>
/// Visitors who ask all devices steadily: GET, one in a hundred of them slow, and one in five a POST. Each answer must be the
/// right device's. The rate is kept for as long as the machine can.
/// </summary>
internal sealed class Visitors : IAsyncDisposable
{
    private const string Lost = "connection lost";

    private readonly Guid _name = Guid.NewGuid();
    private readonly ConcurrentBag<List<Sample>> _samples = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly long _started = Stopwatch.GetTimestamp();
    private readonly IReadOnlyList<TestDevice> _devices;
    private readonly List<Task> _asking;
    private long _sent;

    /// <summary>Begins.</summary>
    /// <param name="where">Where a new connection leads to.</param>
    /// <param name="rate">Requests a second.</param>
    public Visitors(Func<IPEndPoint> where, IReadOnlyList<TestDevice> devices, int rate, int connections = 48)
    {
        _devices = devices;
        _asking = [.. Enumerable.Range(0, connections).Select(one => Task.Run(() => AskAsync(one, where, TimeSpan.FromSeconds((double)connections / rate))))];
    }

    public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_started);

    public long Sent => Interlocked.Read(ref _sent);

    /// <summary>Ends the load.</summary>
    /// <returns>All that was asked, in the order of time.</returns>
    public async Task<IReadOnlyList<Sample>> StopAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_asking);
        return [.. _samples.SelectMany(static samples => samples).OrderBy(static sample => sample.At)];
    }

    /// <summary>Waits until so many requests have been sent in all.</summary>
    public async Task SendAsync(long count)
    {
        while (Sent < count)
        {
            await Task.Delay(100);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _stop.Dispose();
    }

    private async Task AskAsync(int one, Func<IPEndPoint> where, TimeSpan interval)
    {
        var random = new Random(one);
        var samples = new List<Sample>();
        _samples.Add(samples);
        using var visitor = new Visitor(where);
        var due = interval * random.NextDouble();
        for (var i = 0; !_stop.IsCancellationRequested; i++)
        {
            if (due - Elapsed is var early && early > TimeSpan.FromMilliseconds(1))
            {
                await Task.Delay(early);
            }

            due = (due < Elapsed - interval ? Elapsed : due) + interval;
            var device = random.Next(_devices.Count);
            var isSafe = random.Next(5) > 0;
            var at = Elapsed;
            var isSlow = random.Next(100) == 0;
            var failure = await TryAsync(visitor, isSafe, isSlow ? "/?ms=700" : "/", _devices[device], $"{_name}-{one}-{i}");
            samples.Add(new Sample(at, Elapsed - at, isSafe, isSlow, device, failure));
            Interlocked.Increment(ref _sent);
        }
    }

    private static async Task<string?> TryAsync(Visitor visitor, bool isSafe, string target, TestDevice device, string id)
    {
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var phase = visitor.IsConnected ? $"after a {visitor.Last}" : "fresh";
        try
        {
            var answer = await visitor.AskAsync(isSafe ? "GET" : "POST", device.Host, target, id, patience.Token);
            return answer.Status != 200 ? string.Create(CultureInfo.InvariantCulture, $"{answer.Status} {answer.Failure}")
                : answer.Body != device.Uuid.ToString() ? "another device answered"
                : null;
        }
        catch (Exception exception) when (exception is SocketException or EndOfStreamException)
        {
            return $"{Lost} ({phase}, {(exception as SocketException)?.SocketErrorCode.ToString() ?? "end"})";
        }
        catch (OperationCanceledException)
        {
            return "no answer within 30 s";
        }
    }
}

/// <summary>Loads as tables.</summary>
internal static class Samples
{
    /// <summary>A row: requests, failed ones, and of the rest, those apart that were to be slow, p50, p99 and the longest.</summary>
    public static string Row(string name, IEnumerable<Sample> samples)
    {
        var all = samples.ToList();
        var took = all.Where(static sample => sample is { Failure: null, IsSlow: false }).Select(static sample => sample.Took.TotalMilliseconds).Order().ToList();
        return string.Create(CultureInfo.InvariantCulture,
            $"| {name} | {all.Count:N0} | {all.Count(static sample => sample.Failure is not null)} | {Quantile(took, 0.5):0.0} ms | {Quantile(took, 0.99):0.0} ms | {(took.Count > 0 ? took[^1] : 0):0} ms |");
    }

    public const string Head = "| | requests | failed | p50 | p99 | longest |\n|---|---|---|---|---|---|";

    /// <summary>What went wrong, and how often.</summary>
    public static string Failures(IEnumerable<Sample> samples) => string.Join(
        "\n", samples.Where(static sample => sample.Failure is not null).GroupBy(static sample => (sample.IsSafe, sample.Failure)).OrderByDescending(static group => group.Count())
            .Select(static group => $"{group.Count()} x {(group.Key.IsSafe ? "GET" : "POST")}: {group.Key.Failure} (at {string.Join(", ", group.Take(8).Select(static sample => sample.At.TotalSeconds.ToString("0.0", CultureInfo.InvariantCulture)))} s)"));

    public static double Quantile(IReadOnlyList<double> sorted, double share) => sorted.Count == 0 ? double.NaN : sorted[(int)((sorted.Count - 1) * share)];
}
