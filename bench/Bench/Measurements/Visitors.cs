using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using Bench.Peers;
using Bench.Processes;

namespace Bench.Measurements;

/// <summary>Times of visits, in milliseconds.</summary>
internal sealed record Visits(double[] Sorted)
{
    public double P50 => Quantile(0.5);

    public double P99 => Quantile(0.99);

    public static Visits Of(IEnumerable<double> milliseconds) => new([.. milliseconds.Order()]);

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
    /// <exception cref="BenchException">A visit failed.</exception>
    public async Task<Visits> VisitAsync(IEnumerable<(int Port, Device Device)> visits, double perSecond, CancellationToken cancellationToken)
    {
        var times = new ConcurrentBag<double>();
        var running = new List<Task>();
        var started = Stopwatch.GetTimestamp();
        foreach (var (i, (port, device)) in visits.Index())
        {
            var wait = TimeSpan.FromSeconds(i / perSecond) - Stopwatch.GetElapsedTime(started);
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, cancellationToken);
            }

            running.Add(VisitAsync(port, device, times, cancellationToken));
        }

        await Task.WhenAll(running);
        return Visits.Of(times);
    }

    public void Dispose() => _client.Dispose();

    private async Task VisitAsync(int port, Device device, ConcurrentBag<double> times, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        using var request = new HttpRequestMessage(HttpMethod.Get, string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/small")) { Headers = { Host = device.Host } };
        try
        {
            using var response = await _client.SendAsync(request, cancellationToken);
            var body = await response.Content.ReadAsStringAsync(cancellationToken);
            if (response.StatusCode != HttpStatusCode.OK || body != device.Uuid.ToString())
            {
                throw new BenchException($"a visit of {device.Host} on port {port} got {(int)response.StatusCode}: {body[..Math.Min(body.Length, 500)]}");
            }
        }
        catch (HttpRequestException exception)
        {
            throw new BenchException($"a visit of {device.Host} on port {port} failed: {exception.GetBaseException().Message}");
        }

        times.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
    }
}
