using System.Text;
using Gateway.Tests.Harness;
using Grpc.AspNetCore.Server.Model;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Gateway.Tests.Crossing;

/// <summary>gRPC calls cross with their deadlines, metadata, statuses and trailers; the application speaks HTTP/2 without TLS.</summary>
public sealed class GrpcTests(SharedGateway shared)
{
    private static readonly Marshaller<string> Text = Marshallers.Create(Encoding.UTF8.GetBytes, Encoding.UTF8.GetString);
    private static readonly Method<string, string> Unary = new(MethodType.Unary, "test.Echo", "Unary", Text, Text);
    private static readonly Method<string, string> Duplex = new(MethodType.DuplexStreaming, "test.Echo", "Duplex", Text, Text);
    private static readonly Method<string, string> ServerStream = new(MethodType.ServerStreaming, "test.Echo", "ServerStream", Text, Text);

    private async Task<Visit> VisitAsync() => await Visit.ToAsync(shared.Gateway, await TestApp.StartAsync(
        static services =>
        {
            services.AddGrpc();
            services.TryAddEnumerable(ServiceDescriptor.Singleton<IServiceMethodProvider<Echo>, EchoMethods>());
        },
        static app => app.MapGrpcService<Echo>(),
        HttpProtocols.Http2));

    private GrpcChannel Channel(Visit visit) => GrpcChannel.ForAddress($"https://{visit.Device.Host}", new GrpcChannelOptions
    {
        HttpHandler = shared.Gateway.CreateHandler(),
        DisposeHttpClient = true,
    });

    [Fact]
    public async Task A_unary_call_brings_its_answer_its_metadata_and_its_trailers()
    {
        await using var visit = await VisitAsync();
        using var channel = Channel(visit);

        using var call = channel.CreateCallInvoker().AsyncUnaryCall(Unary, null, new CallOptions([new Metadata.Entry("x-asked-bin", [0, 255])], DateTime.UtcNow.AddSeconds(30)), "hello");

        Assert.Equal("hello", await call.ResponseAsync);
        Assert.Equal([0, 255], (await call.ResponseHeadersAsync).GetValueBytes("x-asked-bin"));
        Assert.Equal("late", call.GetTrailers().GetValue("x-trailer"));
        Assert.Equal(StatusCode.OK, call.GetStatus().StatusCode);
    }

    [Fact]
    public async Task An_error_arrives_with_its_code_and_message()
    {
        await using var visit = await VisitAsync();
        using var channel = Channel(visit);

        var error = await Assert.ThrowsAsync<RpcException>(async () => await channel.CreateCallInvoker().AsyncUnaryCall(Unary, null, default, "fail").ResponseAsync);

        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Equal("not in the mood: ü", error.Status.Detail);
        Assert.Equal("late", error.Trailers.GetValue("x-trailer"));
    }

    [Fact]
    public async Task A_bidirectional_call_is_a_conversation()
    {
        await using var visit = await VisitAsync();
        using var channel = Channel(visit);
        using var call = channel.CreateCallInvoker().AsyncDuplexStreamingCall(Duplex, null, new CallOptions(deadline: DateTime.UtcNow.AddSeconds(30)));

        // Each message waits for the answer to the one before.
        for (var i = 0; i < 10; i++)
        {
            await call.RequestStream.WriteAsync($"message {i}");
            Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));
            Assert.Equal($"message {i}", call.ResponseStream.Current);
        }

        await call.RequestStream.CompleteAsync();
        Assert.False(await call.ResponseStream.MoveNext(CancellationToken.None));
        Assert.Equal(StatusCode.OK, call.GetStatus().StatusCode);
        Assert.Equal("late", call.GetTrailers().GetValue("x-trailer"));
    }

    [Fact]
    public async Task A_call_that_is_cancelled_ends_at_the_application()
    {
        await using var visit = await VisitAsync();
        using var channel = Channel(visit);
        using var call = channel.CreateCallInvoker().AsyncServerStreamingCall(ServerStream, null, default, $"{visit.Device.Uuid}");
        Assert.True(await call.ResponseStream.MoveNext(CancellationToken.None));

        call.Dispose();

        Assert.True(await Eventually.ResultAsync(Echo.Cancelled.Task, "the application is told"));
    }

    private sealed class Echo
    {
        public static TaskCompletionSource<bool> Cancelled { get; } = new();
    }

    /// <summary>The service, without generated code: the wire is the same.</summary>
    private sealed class EchoMethods : IServiceMethodProvider<Echo>
    {
        public void OnServiceMethodDiscovery(ServiceMethodProviderContext<Echo> context)
        {
            context.AddUnaryMethod(Unary, [], static async (_, request, call) =>
            {
                call.ResponseTrailers.Add("x-trailer", "late");
                if (request == "fail")
                {
                    throw new RpcException(new Status(StatusCode.FailedPrecondition, "not in the mood: ü"));
                }

                await call.WriteResponseHeadersAsync([new Metadata.Entry("x-asked-bin", call.RequestHeaders.GetValueBytes("x-asked-bin") ?? [])]);
                return request;
            });
            context.AddDuplexStreamingMethod(Duplex, [], static async (_, requests, responses, call) =>
            {
                call.ResponseTrailers.Add("x-trailer", "late");
                await foreach (var request in requests.ReadAllAsync())
                {
                    await responses.WriteAsync(request);
                }
            });
            context.AddServerStreamingMethod(ServerStream, [], static async (_, request, responses, call) =>
            {
                await using var registration = call.CancellationToken.Register(static () => Echo.Cancelled.TrySetResult(true));
                await responses.WriteAsync("begun");
                await Echo.Cancelled.Task;
            });
        }
    }
}
