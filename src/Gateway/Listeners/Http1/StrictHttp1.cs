using System.IO.Pipelines;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace Gateway.Listeners.Http1;

/// <summary>What the guard of the connection knows of the request that is being served.</summary>
/// <remarks>
/// It is a feature of the connection, which <see cref="HttpContext.Features"/> falls back to. It is not there on HTTP/2
/// connections over TLS and on HTTP/3, and finds nothing on HTTP/2 without TLS.
/// </remarks>
internal sealed class StrictHttp1Feature
{
    private readonly Http1Framing _framing;

    internal StrictHttp1Feature(Http1Framing framing) => _framing = framing;

    /// <summary>
    /// Why this request has to be refused, or null. To be read when the request starts, before its body is read: a
    /// violation later in the body makes the reads of the body fail instead.
    /// </summary>
    public string? Violation
    {
        get
        {
            // The bytes are seen ahead of the requests. A violation in a pipelined request concerns that one, whose first
            // bytes the server has not taken yet while it serves those before it.
            if (_framing.Violation is { } violation)
                return Consumed > _framing.MessageStart ? violation : null;
            return Consumed > _framing.OpaqueStart ? "request after one that asked for another protocol" : null;
        }
    }

    /// <summary>
    /// Whether this request asked for another protocol or a tunnel. What follows it is not validated, so that the
    /// connection has to end with it.
    /// </summary>
    public bool LastRequest => _framing.LastRequest && Consumed > _framing.MessageStart;

    /// <summary>
    /// The violation in the body of this request, or null. To be read when a read of the body has failed with a
    /// <see cref="BadHttpRequestException"/>, to tell whether it is ours.
    /// </summary>
    public string? BodyViolation => Consumed >= _framing.BodyStart ? _framing.Violation : null;

    /// <summary>
    /// The whole Connection field of this request when it may name other fields, or null. To be read once, when the request
    /// starts.
    /// </summary>
    public string? TakeConnectionOptions()
    {
        string? value = null;
        while (_framing.Connections.TryPeek(out var options) && options.MessageStart < Consumed)
        {
            value = options.Value;
            _framing.Connections.Dequeue();
        }

        return value;
    }

    /// <summary>How many bytes the server has taken from the connection.</summary>
    internal long Consumed { get; set; }
}

/// <summary>Refuses HTTP/1.1 requests whose framing is ambiguous, which the server itself would accept.</summary>
internal static class StrictHttp1
{
    /// <summary>
    /// Validates the framing of the HTTP/1.1 requests of the connections of this endpoint. It comes after the TLS
    /// middleware and needs <see cref="UseStrictHttp1Refusal"/> in the pipeline of the application.
    /// </summary>
    /// <param name="connections">The endpoint's connection pipeline.</param>
    /// <returns>The same <paramref name="connections"/>.</returns>
    public static IConnectionBuilder UseStrictHttp1(this IConnectionBuilder connections)
    {
        ArgumentNullException.ThrowIfNull(connections);
        return connections.Use(static next => connection => connection.IsHttp2() ? next(connection) : GuardAsync(connection, next));
    }

    /// <summary>
    /// Answers requests that the guard found a violation in with 400 and ends their connection. It has to come first in
    /// the pipeline of the application.
    /// </summary>
    /// <param name="app">The application's request pipeline.</param>
    /// <param name="write">
    /// Writes the body of a refusal, given its reason. The status is already set and may be read, not changed. Without it
    /// the reason is written as plain text.
    /// </param>
    /// <returns>The same <paramref name="app"/>.</returns>
    public static IApplicationBuilder UseStrictHttp1Refusal(this IApplicationBuilder app, Func<HttpContext, string, Task>? write = null)
    {
        ArgumentNullException.ThrowIfNull(app);
        write ??= WritePlainTextAsync;
        return app.Use((context, next) =>
        {
            if (context.Features.Get<StrictHttp1Feature>() is not { } feature)
                return next(context);
            if (feature.Violation is { } violation)
                return RefuseAsync(context, violation, write);
            if (feature.LastRequest)
                CloseUnlessSwitched(context.Response);
            if (feature.TakeConnectionOptions() is { } options)
                context.Request.Headers.Connection = options;

            // A body that is counted can't have a violation.
            return context.Request.Headers.TransferEncoding.Count == 0 ? next(context) : ServeChunkedAsync(context, next, feature, write);
        });
    }

    private static async Task ServeChunkedAsync(
        HttpContext context, RequestDelegate next, StrictHttp1Feature feature, Func<HttpContext, string, Task> write)
    {
        try
        {
            await next(context);
        }
        catch (BadHttpRequestException) when (feature.BodyViolation is not null)
        {
            // Kestrel would answer 400 too, but log it as a failure of the application.
            if (context.Response.HasStarted)
                context.Abort(); // To end the response well would pass off a part of it as the whole.
            else
                await RefuseAsync(context, feature.BodyViolation, write);
        }
    }

    private static Task RefuseAsync(HttpContext context, string violation, Func<HttpContext, string, Task> write)
    {
        context.Response.Clear();
        context.Response.StatusCode = StatusCodes.Status400BadRequest;
        CloseUnlessSwitched(context.Response);
        return write(context, violation);
    }

    private static Task WritePlainTextAsync(HttpContext context, string violation)
    {
        context.Response.ContentType = "text/plain";
        return context.Response.WriteAsync(violation + "\n", context.RequestAborted);
    }

    // These callbacks run last in, first out, so that the first middleware has the last word about the field.
    private static void CloseUnlessSwitched(HttpResponse response) => response.OnStarting(
        static state =>
        {
            var response = (HttpResponse)state;
            if (response.StatusCode != StatusCodes.Status101SwitchingProtocols)
                response.Headers.Connection = "close";
            return Task.CompletedTask;
        },
        response);

    private static async Task GuardAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        var framing = new Http1Framing();
        var feature = new StrictHttp1Feature(framing);
        connection.Features.Set(feature);
        try
        {
            await ObservingReader.InsertAsync(connection, input => new FramingReader(input, framing, feature), next);
        }
        finally
        {
            // The connection may go on without HTTP/1.1, and for long: as a tunnel.
            connection.Features.Set<StrictHttp1Feature>(null);
        }
    }

    private sealed class FramingReader(PipeReader inner, Http1Framing framing, StrictHttp1Feature feature) : ObservingReader(inner)
    {
        protected override void Observe(ReadOnlySpan<byte> bytes) => framing.Observe(bytes);

        protected override void Consume(long count) => feature.Consumed += count;

        // The one exception that the server takes for the client's fault: it ends the connection after it, whatever the
        // application made of it, and answers 400 if nobody did.
        protected override Exception? Objection() =>
            feature.BodyViolation is null ? null : new BadHttpRequestException("Refused request body: " + framing.Violation, StatusCodes.Status400BadRequest);
    }
}
