using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using Bench.Peers;
using Bench.Processes;

namespace Bench.Visits;

/// <summary>Times of visits, in milliseconds.</summary>
/// <param name="Sorted">Of those that succeeded.</param>
/// <param name="Failed">How many did not.</param>
/// <param name="Failure">What one of these got.</param>
internal sealed record VisitTimes(double[] Sorted, int Failed = 0, string? Failure = null)
{
    public double P50 => Quantile(0.5);

    public double P99 => Quantile(0.99);

    public static VisitTimes Of(IEnumerable<double> milliseconds, IReadOnlyCollection<string>? failures = null) => new([.. milliseconds.Order()], failures?.Count ?? 0, failures?.FirstOrDefault());

    /// <summary>The smallest time within which at least this part was served.</summary>
    public double Quantile(double part) => Sorted[Math.Clamp((int)Math.Ceiling(part * Sorted.Length) - 1, 0, Sorted.Length - 1)];
}

/// <summary>Visitors of many devices. They come at a rate, whether or not those before them were served.</summary>
internal sealed class Visitors : IDisposable
{
    private readonly HttpMessageInvoker _client = new(new SocketsHttpHandler { UseProxy = false, UseCookies = false, AllowAutoRedirect = false });

    /// <summary>Visits each once, and checks that the right device has answered.</summary>
    /// <param name="visits">The port of the gateway, and the device.</param>
    /// <param name="perSecond">How many visitors come in a second.</param>
    /// <exception cref="BenchException">No visit succeeded.</exception>
    public async Task<VisitTimes> VisitAsync(IEnumerable<(int Port, Device Device)> visits, double perSecond, CancellationToken cancellationToken)
    {
        var times = new ConcurrentBag<double>();
        var failures = new ConcurrentQueue<string>();
        var running = new List<Task>();
        var started = Stopwatch.GetTimestamp();
        foreach (var (i, (port, device)) in visits.Index())
        {
            var wait = TimeSpan.FromSeconds(i / perSecond) - Stopwatch.GetElapsedTime(started);
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, cancellationToken);
            }

            running.Add(VisitAsync(port, device, times, failures, cancellationToken));
        }

        await Task.WhenAll(running);
        return times.IsEmpty ? throw new BenchException(failures.First()) : VisitTimes.Of(times, failures);
    }

    public void Dispose() => _client.Dispose();

    private async Task VisitAsync(int port, Device device, ConcurrentBag<double> times, ConcurrentQueue<string> failures, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        using var request = new HttpRequestMessage(HttpMethod.Get, string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/small")) { Headers = { Host = device.Host } };
        try
        {
            using var response = await _client.SendAsync(request, cancellationToken);
            var body = await response.Content.ReadAsStringAsync(cancellationToken);
            if (response.StatusCode != HttpStatusCode.OK || body != device.Uuid.ToString())
            {
                failures.Enqueue($"a visit of {device.Host} on port {port} got {(int)response.StatusCode}: {body[..Math.Min(body.Length, 500)]}");
                return;
            }
        }
        catch (HttpRequestException exception)
        {
            failures.Enqueue($"a visit of {device.Host} on port {port} failed: {exception.GetBaseException().Message}");
            return;
        }

        times.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
    }
}
