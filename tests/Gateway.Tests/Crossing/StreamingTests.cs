using System.Net;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Http;

namespace Gateway.Tests.Crossing;

/// <summary>
/// What is written now arrives now. No test here measures a time: the application writes its next part only when the
/// visitor has the one before, so that whatever is held back holds the test.
/// </summary>
public sealed class StreamingTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    /// <summary>Heads of streams, usual and unusual: promptness is not bought with a field.</summary>
    public static TheoryData<string, string> Streams
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var version in new[] { "1.1", "2.0" })
            {
                data.Add(version, "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n");
                data.Add(version, "Content-Type: multipart/x-mixed-replace; boundary=frame\r\n");
                data.Add(version, "Content-Type: application/json\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n");
                data.Add(version, "Content-Length: 9\r\n");
                data.Add(version, "");
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Streams))]
    public async Task Head_and_parts_arrive_one_by_one(string httpVersion, string fields)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var asking = visitor.GetAsync(visit.Url(version), HttpCompletionOption.ResponseHeadersRead);
        await using var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync($"HTTP/1.1 200 OK\r\n{fields}\r\n");

        using var response = await Eventually.ResultAsync(asking, "the head, before any content");
        await using var content = await response.Content.ReadAsStreamAsync();
        var chunked = fields.Contains("chunked", StringComparison.Ordinal);
        foreach (var part in new[] { "one", "two", "six" })
        {
            await connection.SendAsync(chunked ? $"3\r\n{part}\r\n" : part);
            var buffer = new byte[3];
            await Eventually.ResultAsync(content.ReadExactlyAsync(buffer).AsTask().ContinueWith(static read => read.IsCompletedSuccessfully, TaskScheduler.Default), $"\"{part}\"");
            Assert.Equal(part, Encoding.ASCII.GetString(buffer));
        }

        if (chunked)
        {
            await connection.SendAsync("0\r\n\r\n");
        }

        await connection.DisposeAsync();
        Assert.Equal(0, await content.ReadAsync(new byte[1]));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_long_poll_may_take_as_long_as_the_limit_and_a_quiet_stream_longer(string httpVersion)
    {
        // Ten minutes, compressed to three seconds.
        var version = Version.Parse(httpVersion);
        var timeout = TimeSpan.FromSeconds(3);
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:ResponseTimeout"] = timeout.ToString() });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            if (context.Request.Path == "/poll")
            {
                await Task.Delay(timeout / 2, context.RequestAborted);
                await context.Response.WriteAsync("news");
            }
            else
            {
                await context.Response.WriteAsync("first ");
                await Task.Delay(timeout * 2, context.RequestAborted);
                await context.Response.WriteAsync("second");
            }
        }));
        using var visitor = gateway.CreateVisitor(version);

        Assert.Equal("news", await visitor.GetStringAsync(visit.Url(version, "/poll")));
        Assert.Equal("first second", await visitor.GetStringAsync(visit.Url(version, "/stream")));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_application_that_never_answers_is_named_after_the_limit_and_told(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        var arrived = 0;
        var told = new TaskCompletionSource<bool>();
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:ResponseTimeout"] = "00:00:00.500" });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            await using var registration = context.RequestAborted.Register(() => told.TrySetResult(true));
            Interlocked.Increment(ref arrived);
            await TestApp.UntilAbortedAsync(context.RequestAborted);
        }));
        using var visitor = gateway.CreateVisitor(version);

        // On a busy machine the limit may pass before a request has come as far as the application: then there is nobody to tell.
        do
        {
            using var response = await visitor.GetAsync(visit.Url(version));

            Assert.Equal(HttpStatusCode.GatewayTimeout, response.StatusCode);
            Assert.Equal("gateway; error=http_response_timeout", Assert.Single(response.Headers.GetValues("Proxy-Status")));
            Assert.Contains("application-timeout", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        while (Volatile.Read(ref arrived) == 0);

        Assert.True(await Eventually.ResultAsync(told.Task, "the application is told"));
        using var next = await visitor.GetAsync(visit.Url(version));
        Assert.Equal(HttpStatusCode.GatewayTimeout, next.StatusCode); // the tunnel lives
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_slow_upload_is_not_cut_while_it_makes_progress(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var gateway = await TestGateway.StartAsync(new() { ["Edge:ResponseTimeout"] = "00:00:03" });
        await using var visit = await Visit.ToAsync(gateway, await TestApp.StartAsync(async context =>
        {
            using var reader = new StreamReader(context.Request.Body);
            await context.Response.WriteAsync(await reader.ReadToEndAsync());
        }));
        using var visitor = gateway.CreateVisitor(version);
        var content = new PipedContent();

        var sending = visitor.PostAsync(visit.Url(version), content);
        for (var i = 0; i < 6; i++)
        {
            await content.WriteAsync($"{i}");
            await Task.Delay(TimeSpan.FromMilliseconds(700));
        }

        content.End();
        using var response = await sending;
        Assert.Equal("012345", await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task What_a_visitor_uploads_piece_by_piece_arrives_piece_by_piece(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);
        var content = new PipedContent();

        var sending = visitor.PostAsync(visit.Url(version), content);
        await using var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync(); // before any content
        foreach (var part in new[] { "one", "two", "six" })
        {
            await content.WriteAsync(part);
            Assert.Equal($"3\r\n{part}\r\n", await connection.ReadAsync(8));
        }

        content.End();
        Assert.Equal("0\r\n\r\n", await connection.ReadAsync(5));
        await connection.SendAsync("HTTP/1.1 204 No Content\r\n\r\n");
        using var response = await sending;
        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_visitor_that_does_not_read_stalls_nobody_else_on_the_tunnel(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        var written = 0L;
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(async context =>
        {
            if (context.Request.Path == "/quick")
            {
                await context.Response.WriteAsync("quick");
                return;
            }

            var buffer = new byte[64 * 1024];
            while (true)
            {
                await context.Response.Body.WriteAsync(buffer, context.RequestAborted);
                Interlocked.Add(ref written, buffer.Length);
            }
        }));
        using var stalled = Gateway.CreateVisitor(version);
        using var quick = Gateway.CreateVisitor(version);

        // Eight who take the head and nothing more, until the application can write no further.
        var unread = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => stalled.GetAsync(visit.Url(version, "/endless"), HttpCompletionOption.ResponseHeadersRead)));
        long before;
        do
        {
            before = Interlocked.Read(ref written);
            await Task.Delay(200);
        }
        while (Interlocked.Read(ref written) != before);

        Assert.True(before < 512L * 1024 * 1024, $"{before} bytes are kept somewhere for visitors that do not read.");
        for (var i = 0; i < 20; i++)
        {
            Assert.Equal("quick", await quick.GetStringAsync(visit.Url(version, "/quick")));
        }

        foreach (var response in unread)
        {
            response.Dispose();
        }
    }
}
