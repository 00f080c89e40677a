using System.Net;
using System.Security.Cryptography;
using System.Text;
using Gateway.Tests.Harness;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Tunnel.Protocol.DeviceSide;

namespace Gateway.Tests.Crossing;

/// <summary>Contents cross whole, framed as they were, or visibly broken.</summary>
public sealed class BodyTests(SharedGateway shared)
{
    private TestGateway Gateway => shared.Gateway;

    private static Task EchoAsync(HttpContext context)
    {
        context.Response.Headers["X-Length"] = context.Request.ContentLength?.ToString() ?? "none";
        context.Response.Headers["X-Coding"] = context.Request.Headers.TransferEncoding.ToString();
        context.Response.ContentLength = context.Request.ContentLength;
        return context.Request.Body.CopyToAsync(context.Response.Body);
    }

    [Theory]
    [InlineData("1.1", 0)]
    [InlineData("1.1", 1)]
    [InlineData("1.1", 3_000_000)]
    [InlineData("2.0", 0)]
    [InlineData("2.0", 1)]
    [InlineData("2.0", 3_000_000)]
    public async Task A_content_of_known_length_crosses_both_ways(string httpVersion, int length)
    {
        var version = Version.Parse(httpVersion);
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(EchoAsync));
        using var visitor = Gateway.CreateVisitor(version);
        var sent = RandomNumberGenerator.GetBytes(length);

        using var response = await visitor.PostAsync(visit.Url(version), new ByteArrayContent(sent));

        Assert.Equal($"{length}", Assert.Single(response.Headers.GetValues("X-Length")));
        Assert.Equal(length, response.Content.Headers.ContentLength);
        Assert.Equal(sent, await response.Content.ReadAsByteArrayAsync());
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_content_of_unknown_length_crosses_both_ways(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(EchoAsync));
        using var visitor = Gateway.CreateVisitor(version);
        var sent = RandomNumberGenerator.GetBytes(3_000_000);
        using var request = new HttpRequestMessage(HttpMethod.Put, visit.Url(version)) { Version = version, Content = new StreamContent(new Unseekable(sent)) };

        using var response = await visitor.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);

        Assert.Equal("none", Assert.Single(response.Headers.GetValues("X-Length")));
        Assert.Equal("chunked", Assert.Single(response.Headers.GetValues("X-Coding")));
        Assert.Null(response.Content.Headers.ContentLength);
        Assert.Equal(sent, await response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task A_content_that_ends_with_its_connection_crosses()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor();

        var answer = visitor.GetStringAsync(visit.Url(HttpVersion.Version11));
        _ = await app.AnswerOnceAsync("HTTP/1.0 200 OK\r\n\r\nuntil the end");

        Assert.Equal("until the end", await answer);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_range_gets_its_part(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);
        using var request = new HttpRequestMessage(HttpMethod.Get, visit.Url(version)) { Version = version };
        request.Headers.TryAddWithoutValidation("Range", "bytes=2-4");
        request.Headers.TryAddWithoutValidation("If-Range", "\"v1\"");

        var sending = visitor.SendAsync(request);
        var seen = await app.AnswerOnceAsync("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\nETag: \"v1\"\r\n\r\ncde");
        using var response = await sending;

        Assert.Contains("Range: bytes=2-4\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Contains("If-Range: \"v1\"\r\n", seen, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(HttpStatusCode.PartialContent, response.StatusCode);
        Assert.Equal("bytes 2-4/10", response.Content.Headers.ContentRange!.ToString());
        Assert.Equal("cde", await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("1.1", "204 No Content", "")]
    [InlineData("1.1", "304 Not Modified", "ETag: \"v1\"\r\n")]
    [InlineData("1.1", "304 Not Modified", "Content-Length: 5000\r\n")]
    [InlineData("1.1", "205 Reset Content", "Content-Length: 0\r\n")]
    [InlineData("2.0", "204 No Content", "")]
    [InlineData("2.0", "304 Not Modified", "ETag: \"v1\"\r\n")]
    [InlineData("2.0", "304 Not Modified", "Content-Length: 5000\r\n")]
    [InlineData("2.0", "205 Reset Content", "Content-Length: 0\r\n")]
    public async Task An_answer_without_content_has_none(string httpVersion, string status, string fields)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var sending = visitor.GetAsync(visit.Url(version));
        _ = await app.AnswerOnceAsync($"HTTP/1.1 {status}\r\n{fields}\r\n");
        using var response = await sending;

        Assert.Equal(int.Parse(status[..3], System.Globalization.CultureInfo.InvariantCulture), (int)response.StatusCode);
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
        Assert.Equal(fields.Contains("ETag", StringComparison.Ordinal), response.Headers.ETag is not null);

        // The next exchange on the same connection starts where this one ended.
        var next = visitor.GetStringAsync(visit.Url(version));
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext");
        Assert.Equal("next", await next);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task HEAD_tells_the_length_and_gives_no_content(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var sending = visitor.SendAsync(new HttpRequestMessage(HttpMethod.Head, visit.Url(version)) { Version = version });
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nContent-Type: text/odd\r\n\r\n");
        using var response = await sending;

        Assert.Equal(5000, response.Content.Headers.ContentLength);
        Assert.Equal("text/odd", response.Content.Headers.ContentType!.ToString());
        Assert.Empty(await response.Content.ReadAsByteArrayAsync());
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Early_hints_confuse_nobody(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var sending = visitor.GetAsync(visit.Url(version));
        _ = await app.AnswerOnceAsync("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal");
        using var response = await sending;

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("final", await response.Content.ReadAsStringAsync());
    }

    [Fact]
    public async Task A_visitor_that_expects_100_gets_it_from_the_application()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"PUT / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        await using var connection = await app.AcceptAsync();
        var head = await connection.ReadHeadAsync();
        await connection.SendAsync("HTTP/1.1 100 Continue\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 100 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
        await visitor.SendAsync("hello");
        Assert.Equal("hello", await connection.ReadAsync(5));
        await connection.SendAsync("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");

        Assert.Contains("Expect: 100-continue\r\n", head, StringComparison.OrdinalIgnoreCase);
        Assert.StartsWith("HTTP/1.1 201 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_application_may_refuse_what_a_visitor_offers_before_it_is_sent(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version, static handler => handler.Expect100ContinueTimeout = TimeSpan.FromMinutes(1));
        var content = new Unseekable([1, 2, 3]);
        using var request = new HttpRequestMessage(HttpMethod.Put, visit.Url(version)) { Version = version, Content = new StreamContent(content) };
        request.Headers.ExpectContinue = true;

        var sending = visitor.SendAsync(request);
        _ = await app.AnswerOnceAsync("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        using var response = await sending;

        Assert.Equal(HttpStatusCode.ExpectationFailed, response.StatusCode);
        Assert.Equal(0, content.Position);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Trailers_reach_the_visitor(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);
        using var request = new HttpRequestMessage(HttpMethod.Get, visit.Url(version)) { Version = version };
        request.Headers.TryAddWithoutValidation("TE", "trailers");

        var sending = visitor.SendAsync(request);
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\nX-Sum-Two: 43\r\n\r\n");
        using var response = await sending;

        Assert.Equal("abc", await response.Content.ReadAsStringAsync());
        Assert.Equal("42", Assert.Single(response.TrailingHeaders.GetValues("X-Sum")));
        Assert.Equal("43", Assert.Single(response.TrailingHeaders.GetValues("X-Sum-Two")));
    }

    [Fact]
    public async Task An_application_may_answer_before_it_has_read_the_content()
    {
        var version = HttpVersion.Version20;
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);
        using var request = new HttpRequestMessage(HttpMethod.Post, visit.Url(version)) { Version = version, Content = new EndlessContent() };

        var sending = visitor.SendAsync(request);
        await using var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        using var response = await sending;

        Assert.Equal(HttpStatusCode.RequestEntityTooLarge, response.StatusCode);
        Assert.Equal("big", await response.Content.ReadAsStringAsync());
        Assert.False(response.Headers.Contains("Proxy-Status"));
    }

    [Theory]
    [InlineData(1000)]
    [InlineData(1_000_000)]
    [InlineData(10_000_000)]
    public async Task An_early_answer_ends_an_upload_that_nobody_reads(int sent)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"POST / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nContent-Length: 100000000\r\n\r\n");
        var uploading = visitor.SendAsync(new string('u', sent));
        await using var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");

        Assert.StartsWith("HTTP/1.1 413 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
        Assert.Equal("big", await visitor.ReadAsync(3));

        // The application closes, and the visitor is not left with bytes that nobody takes.
        await connection.DisposeAsync();
        await Eventually.EndsAsync(uploading, "the upload ends");
    }

    [Fact]
    public async Task A_visitors_connection_stays_in_use_when_the_application_answers_without_reading()
    {
        var device = await Gateway.AddDeviceAsync();
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseDeviceTunnel(tunnel =>
        {
            tunnel.Gateway = new Uri($"http://tunnel.{TestGateway.Domain}:{Gateway.HttpPort}");
            tunnel.Uuid = device.Uuid;
            tunnel.Key = device.Key;
        });
        await using var app = builder.Build();
        app.Run(static context =>
        {
            context.Response.ContentLength = 4;
            return context.Response.WriteAsync("done");
        });
        await app.StartAsync();
        await Eventually.TrueAsync(() => Gateway.Tunnels.Find(device.Uuid) is not null, "the tunnel is up");

        // Many at once: whether the content is still being read when the answer is there is a race.
        await Task.WhenAll(Enumerable.Range(0, 16).Select(async _ =>
        {
            await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);
            for (var i = 0; i < 100; i++)
            {
                await visitor.SendAsync($"POST / HTTP/1.1\r\nHost: {device.Host}\r\nContent-Length: 5\r\n\r\nhello");
                Assert.StartsWith("HTTP/1.1 200 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
                Assert.Equal("done", await visitor.ReadAsync(4));
            }
        }));
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_answer_begins_while_its_request_is_still_being_sent(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(async context =>
        {
            await context.Response.Body.FlushAsync();
            await context.Request.Body.CopyToAsync(context.Response.Body);
        }));
        using var visitor = Gateway.CreateVisitor(version);
        var content = new PipedContent();
        using var request = new HttpRequestMessage(HttpMethod.Post, visit.Url(version)) { Version = version, Content = content };
        if (version.Major == 1)
        {
            // The platform's client reads no answer before it has sent the request: by hand, then.
            await using var raw = await RawConnection.OpenAsync(Gateway.HttpPort);
            await raw.SendAsync($"POST / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nTransfer-Encoding: chunked\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 200 ", await raw.ReadHeadAsync(), StringComparison.Ordinal);
            await raw.SendAsync("3\r\none\r\n");
            Assert.Equal("3\r\none\r\n", await raw.ReadAsync(8));
            await raw.SendAsync("3\r\ntwo\r\n0\r\n\r\n");
            Assert.Equal("3\r\ntwo\r\n0\r\n\r\n", await raw.ReadAsync(13));
            return;
        }

        using var response = await visitor.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        await using var answer = await response.Content.ReadAsStreamAsync();
        var buffer = new byte[3];
        await content.WriteAsync("one");
        await answer.ReadExactlyAsync(buffer);
        Assert.Equal("one", Encoding.ASCII.GetString(buffer));
        await content.WriteAsync("two");
        await answer.ReadExactlyAsync(buffer);
        Assert.Equal("two", Encoding.ASCII.GetString(buffer));
        content.End();
        Assert.Equal(0, await answer.ReadAsync(buffer));
    }

    [Fact]
    public async Task An_upload_goes_on_after_its_answer_is_complete_for_as_long_as_the_application_reads()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"POST / HTTP/1.1\r\nHost: {visit.Device.Host}\r\nContent-Length: 6\r\n\r\n");
        await using var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync("HTTP/1.1 202 Accepted\r\nContent-Length: 3\r\n\r\nyes");
        Assert.StartsWith("HTTP/1.1 202 ", await visitor.ReadHeadAsync(), StringComparison.Ordinal);
        Assert.Equal("yes", await visitor.ReadAsync(3));

        await visitor.SendAsync("upload");
        Assert.Equal("upload", await connection.ReadAsync(6));
        Assert.Equal("", await connection.ReadToEndAsync());
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_visitor_that_goes_away_is_noticed_by_the_application(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        var arrived = new TaskCompletionSource();
        var gone = new TaskCompletionSource<bool>();
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(async context =>
        {
            await using var registration = context.RequestAborted.Register(() => gone.TrySetResult(true));
            arrived.SetResult();
            await gone.Task;
        }));
        using var visitor = Gateway.CreateVisitor(version);
        using var leaving = new CancellationTokenSource();

        var sending = visitor.GetAsync(visit.Url(version), leaving.Token);
        await arrived.Task;
        await leaving.CancelAsync();

        Assert.True(await Eventually.ResultAsync(gone.Task, "the application notices"));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sending);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task A_visitor_that_stops_in_the_middle_of_an_upload_is_noticed_by_the_application(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        var arrived = new TaskCompletionSource();
        var ended = new TaskCompletionSource<Exception?>();
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(async context =>
        {
            var buffer = new byte[1000];
            _ = await context.Request.Body.ReadAtLeastAsync(buffer, 1000);
            arrived.SetResult();
            try
            {
                await context.Request.Body.CopyToAsync(Stream.Null);
                ended.SetResult(null);
            }
            catch (Exception exception)
            {
                ended.SetResult(exception);
            }
        }));
        using var visitor = Gateway.CreateVisitor(version);
        using var leaving = new CancellationTokenSource();
        using var content = new StreamContent(new Stalling(new byte[1000]));

        var sending = visitor.PostAsync(visit.Url(version), content, leaving.Token);
        await Eventually.ResultAsync(arrived.Task.ContinueWith(static _ => true, TaskScheduler.Default), "the first bytes arrive");
        await leaving.CancelAsync();

        Assert.NotNull(await Eventually.ResultAsync(ended.Task, "the application notices"));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => sending);
    }

    [Theory]
    [InlineData("1.1", "Content-Length: 100\r\n\r\nonly this")]
    [InlineData("1.1", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n")]
    [InlineData("2.0", "Content-Length: 100\r\n\r\nonly this")]
    [InlineData("2.0", "Transfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n")]
    public async Task An_answer_that_breaks_off_is_no_complete_short_one(string httpVersion, string answer)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var sending = visitor.GetAsync(visit.Url(version), HttpCompletionOption.ResponseHeadersRead);
        var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync($"HTTP/1.1 200 OK\r\n{answer}");
        using var response = await sending;
        await connection.DisposeAsync();

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        await Assert.ThrowsAnyAsync<Exception>(() => response.Content.ReadAsByteArrayAsync());
    }

    [Fact]
    public async Task An_answer_that_breaks_off_has_no_last_chunk()
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        await using var visitor = await RawConnection.OpenAsync(Gateway.HttpPort);

        await visitor.SendAsync($"GET / HTTP/1.1\r\nHost: {visit.Device.Host}\r\n\r\n");
        var connection = await app.AcceptAsync();
        _ = await connection.ReadHeadAsync();
        await connection.SendAsync("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n");
        await visitor.ReadUntilAsync("only this");
        await connection.DisposeAsync();

        Assert.DoesNotContain("0\r\n", await visitor.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task An_answer_that_breaks_off_before_any_of_it_was_passed_on_has_its_name_or_is_aborted(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor(version);

        var sending = visitor.GetAsync(visit.Url(version));
        _ = await app.AnswerOnceAsync("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n");

        // Which of the two depends on who is faster, and neither looks like an answer of the application's.
        try
        {
            using var response = await sending;
            Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
            Assert.Contains("application-failed", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }
        catch (HttpRequestException exception)
        {
            Assert.NotEqual(HttpRequestError.ConnectionError, exception.HttpRequestError);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("HTTP/1.1 200 OK\r\nX-Half: ")]
    [InlineData("SSH-2.0-OpenSSH_9.2p1\r\n")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")]
    [InlineData("HTTP/1.1 abc OK\r\n\r\n")]
    public async Task An_application_that_speaks_no_HTTP_has_its_name(string answer)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor();

        var sending = visitor.PostAsync(visit.Url(HttpVersion.Version11), new ByteArrayContent([1]));
        _ = await app.AnswerOnceAsync(answer);
        using var response = await sending;

        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.StartsWith("gateway; error=", Assert.Single(response.Headers.GetValues("Proxy-Status")), StringComparison.Ordinal);
        Assert.Contains("application-failed", await response.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("POST", true)]
    [InlineData("POST", false)]
    [InlineData("PUT", true)]
    [InlineData("DELETE", false)]
    [InlineData("PATCH", true)]
    [InlineData("BREW", false)]
    public async Task What_an_application_may_have_executed_is_not_repeated(string method, bool withContent)
    {
        await using var app = new RawApp();
        await using var visit = await Visit.ToAsync(Gateway, app);
        using var visitor = Gateway.CreateVisitor();

        // A connection that has served a request is kept, and the client would repeat what ends on it.
        var first = visitor.GetAsync(visit.Url(HttpVersion.Version11));
        await using var kept = await app.AcceptAsync();
        _ = await kept.ReadHeadAsync();
        await kept.SendAsync("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        (await first).Dispose();

        using var request = new HttpRequestMessage(new HttpMethod(method), visit.Url(HttpVersion.Version11)) { Content = withContent ? new ByteArrayContent([1, 2, 3]) : null };
        var second = visitor.SendAsync(request);
        await using var connection = await app.AcceptAsync();
        Assert.StartsWith(method, await connection.ReadHeadAsync(), StringComparison.Ordinal);
        await connection.DisposeAsync();

        // What comes first is the visitor's answer, and not another attempt.
        var again = app.AcceptAsync();
        Assert.Same(second, await Task.WhenAny(second, again));
        using var response = await second;
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
        Assert.False(again.IsCompleted);
    }

    [Theory]
    [InlineData("1.1")]
    [InlineData("2.0")]
    public async Task Two_hundred_requests_cross_one_tunnel_at_once(string httpVersion)
    {
        var version = Version.Parse(httpVersion);
        var arrived = 0;
        var all = new TaskCompletionSource();
        await using var visit = await Visit.ToAsync(Gateway, await TestApp.StartAsync(async context =>
        {
            if (Interlocked.Increment(ref arrived) == 200)
            {
                all.SetResult();
            }

            await all.Task;
            await context.Response.WriteAsync(context.Request.Path.Value!);
        }));
        using var visitor = Gateway.CreateVisitor(version);

        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(i => visitor.GetStringAsync(visit.Url(version, $"/{i}"))));

        Assert.Equal(Enumerable.Range(0, 200).Select(static i => $"/{i}"), answers);
    }

    private sealed class Unseekable(byte[] bytes) : MemoryStream(bytes)
    {
        public override bool CanSeek => false;
    }

    /// <summary>Gives bytes for as long as somebody takes them, while the answer may come already.</summary>
    private sealed class EndlessContent : HttpContent
    {
        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            var buffer = new byte[16 * 1024];
            while (true)
            {
                await stream.WriteAsync(buffer, cancellationToken);
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    /// <summary>Gives its bytes, and then neither more nor an end.</summary>
    private sealed class Stalling(byte[] bytes) : MemoryStream
    {
        public override bool CanSeek => false;

        public override async Task CopyToAsync(Stream destination, int bufferSize, CancellationToken cancellationToken)
        {
            await destination.WriteAsync(bytes, cancellationToken);
            await destination.FlushAsync(cancellationToken);
            await Task.Delay(Timeout.Infinite, cancellationToken);
        }
    }
}
