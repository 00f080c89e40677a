using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Gateway.Tests.Telemetry;

/// <summary>A span as it arrived.</summary>
internal sealed record ReceivedSpan(string Service, string TraceId, string SpanId, string ParentId, string Name, int Kind, int Status, IReadOnlyDictionary<string, string> Attributes);

/// <summary>A log record as it arrived.</summary>
internal sealed record ReceivedLog(string Category, string Body, string TraceId, IReadOnlyDictionary<string, string> Attributes);

/// <summary>Takes OTLP over HTTP and over gRPC, each on a port of its own, as a Collector does.</summary>
internal sealed class OtlpReceiver : IAsyncDisposable
{
    private readonly TestApp _http;
    private readonly TestApp _grpc;

    private OtlpReceiver(Func<OtlpReceiver, Task<(TestApp Http, TestApp Grpc)>> start) => (_http, _grpc) = start(this).GetAwaiter().GetResult();

    public static Task<OtlpReceiver> StartAsync() => Task.Run(() => new OtlpReceiver(static async self => (
        await TestApp.StartAsync(self.OverHttpAsync),
        await TestApp.StartAsync(self.OverGrpcAsync, HttpProtocols.Http2))));

    public ConcurrentQueue<ReceivedSpan> Spans { get; } = new();

    public ConcurrentDictionary<string, string> Metrics { get; } = new(StringComparer.Ordinal);

    public ConcurrentQueue<ReceivedLog> Logs { get; } = new();

    /// <summary>The keys that exporters have shown (the field <c>api-key</c>).</summary>
    public ConcurrentDictionary<string, bool> Keys { get; } = new(StringComparer.Ordinal);

    public string Url(bool grpc = false) => (grpc ? _grpc : _http).Url.GetLeftPart(UriPartial.Authority);

    /// <summary>Waits for spans of one trace.</summary>
    public async Task<IReadOnlyList<ReceivedSpan>> SpansAsync(string traceId, int count)
    {
        await Eventually.TrueAsync(() => Spans.Count(span => span.TraceId == traceId) >= count, $"{count} spans of the trace {traceId} have arrived; there are {string.Join(", ", Spans.Select(static span => $"{span.TraceId} {span.Name}"))}");
        return [.. Spans.Where(span => span.TraceId == traceId)];
    }

    public async ValueTask DisposeAsync()
    {
        await _http.DisposeAsync();
        await _grpc.DisposeAsync();
    }

    private async Task OverHttpAsync(HttpContext context)
    {
        Take(context, await ReadAsync(context));
        context.Response.ContentType = "application/x-protobuf";
    }

    // A message follows a byte (compressed or not) and its length.
    private async Task OverGrpcAsync(HttpContext context)
    {
        var body = await ReadAsync(context);
        Assert.Equal(0, body[0]);
        Assert.Equal(body.Length - 5, BinaryPrimitives.ReadInt32BigEndian(body.AsSpan(1)));
        Take(context, body[5..]);
        context.Response.ContentType = "application/grpc";
        await context.Response.Body.WriteAsync(new byte[5]);
        context.Response.AppendTrailer("grpc-status", "0");
    }

    private void Take(HttpContext context, byte[] body)
    {
        Keys[context.Request.Headers["api-key"].ToString()] = true;
        var message = new Protobuf(body);
        switch (context.Request.Path.Value)
        {
            case "/v1/traces" or "/opentelemetry.proto.collector.trace.v1.TraceService/Export":
                foreach (var resource in message.All(1))
                {
                    var service = Attributes(resource.All(1).Single(), 1).GetValueOrDefault("service.name", "");
                    foreach (var span in resource.All(2).SelectMany(static scope => scope.All(2)))
                    {
                        var status = span.All(15).Select(static value => (int)value.Number(3)).FirstOrDefault();
                        Spans.Enqueue(new ReceivedSpan(service, span.Hex(1), span.Hex(2), span.Hex(4), span.Text(5), (int)span.Number(6), status, Attributes(span, 9)));
                    }
                }

                break;
            case "/v1/metrics" or "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export":
                foreach (var metric in message.All(1).SelectMany(static resource => resource.All(2)).SelectMany(static scope => scope.All(2)))
                {
                    Metrics[metric.Text(1)] = metric.Text(3);
                }

                break;
            case "/v1/logs" or "/opentelemetry.proto.collector.logs.v1.LogsService/Export":
                foreach (var scope in message.All(1).SelectMany(static resource => resource.All(2)))
                {
                    foreach (var record in scope.All(2))
                    {
                        Logs.Enqueue(new ReceivedLog(scope.All(1).Single().Text(1), record.All(5).Single().Text(1), record.Hex(9), Attributes(record, 6)));
                    }
                }

                break;
            default:
                context.Response.StatusCode = StatusCodes.Status404NotFound;
                break;
        }
    }

    private static async Task<byte[]> ReadAsync(HttpContext context)
    {
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        return body.ToArray();
    }

    private static Dictionary<string, string> Attributes(Protobuf message, int number) => message.All(number).ToDictionary(
        static pair => pair.Text(1),
        static pair => pair.All(2).Single() is var value && value.Has(1) ? value.Text(1)
            : value.Has(3) ? ((long)value.Number(3)).ToString(CultureInfo.InvariantCulture)
            : value.Has(2) ? (value.Number(2) == 1).ToString() : "",
        StringComparer.Ordinal);
}
