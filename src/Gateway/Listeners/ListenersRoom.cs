using System.Net;
using System.Net.Security;
using System.Text;
using Gateway.Certificates;
using Gateway.Cluster;
using Gateway.Limits;
using Gateway.Listeners.Http1;
using Gateway.Listeners.Http2;
using Gateway.Listeners.Sockets;
using Gateway.Listeners.Tls;
using Gateway.Tunnels;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using Microsoft.Extensions.Options;

namespace Gateway.Listeners;

/// <summary>Who a listener is for. A request never crosses from one to the other, whatever its host says.</summary>
internal enum Audience
{
    Public,
    Admin,
    Node,
}

/// <summary>A connection's feature: the audience of the listener that accepted it.</summary>
internal sealed record AudienceFeature(Audience Audience);

internal static partial class ListenersRoom
{
    private static readonly AudienceFeature Public = new(Audience.Public);
    private static readonly AudienceFeature Admin = new(Audience.Admin);
    private static readonly AudienceFeature Node = new(Audience.Node);

    public static void AddListeners(this WebApplicationBuilder builder)
    {
        // A bare LF ends no line (RFC 9112 section 2.2 lets a recipient choose); Kestrel reads the switch when it is made.
        AppContext.SetSwitch("Microsoft.AspNetCore.Server.Kestrel.DisableHttp1LineFeedTerminators", true);

        var services = builder.Services;
        AddOptions(services);
        services.AddOptions<TlsOptions>().BindConfiguration(TlsOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<TlsOptions>, TlsOptions.Validator>();
        services.AddSingleton<TlsProfile>();
        services.AddSingleton<HandshakeBudget>();
        services.AddSingleton<DeviceHandshake>();
        services.AddSingleton<Reception>();
        services.AddSingleton<SocketTransport>();
        services.AddSingleton<FrameGuard>();
        services.AddOptions<HostOptions>().Configure<IOptions<ListenerOptions>>(
            static (host, listen) => host.ShutdownTimeout = listen.Value.DrainTimeout + TimeSpan.FromSeconds(5));

        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration();
        services.AddSingleton<IConnectionListenerFactory>(static provider => provider.GetRequiredService<SocketTransport>());
        services.AddOptions<KestrelServerOptions>()
            .Configure<IOptions<ListenerOptions>, HandshakeSelector, IOptions<ClusterOptions>, NodeIdentity, IServiceProvider>(Configure);
    }

    /// <summary>One listener for an operator in this process, instead of all others.</summary>
    public static void AddLocalListener(this WebApplicationBuilder builder, InProcessTransport transport)
    {
        AddOptions(builder.Services);
        builder.WebHost.UseKestrelCore().ConfigureServices(services => services.AddSingleton<IConnectionListenerFactory>(transport));
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(transport.EndPoint, static endpoint => endpoint.Use(static next => connection =>
        {
            connection.Features.Set(Admin);
            return next(connection);
        })));
    }

    private static void AddOptions(IServiceCollection services)
    {
        services.AddOptions<ListenerOptions>().BindConfiguration(ListenerOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<ListenerOptions>, ListenerOptions.Validator>();
        services.AddOptions<DomainOptions>().BindConfiguration(DomainOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<DomainOptions>, DomainOptions.Validator>();
        services.AddSingleton<HostNames>();
    }

    private static void Configure(
        KestrelServerOptions kestrel, IOptions<ListenerOptions> options, HandshakeSelector handshakes, IOptions<ClusterOptions> cluster, NodeIdentity node, IServiceProvider services)
    {
        var listen = options.Value;
        var tlsOptions = services.GetRequiredService<IOptions<TlsOptions>>().Value;
        var transport = services.GetRequiredService<SocketTransport>();
        var frames = services.GetRequiredService<FrameGuard>();
        var limits = kestrel.Limits;
        limits.MaxRequestHeadersTotalSize = listen.MaxRequestHeadersKib * 1024;
        limits.MaxRequestLineSize = Math.Min(16, listen.MaxRequestHeadersKib) * 1024;
        limits.MaxRequestHeaderCount = 200;
        limits.Http2.MaxRequestHeaderFieldSize = listen.MaxRequestHeadersKib * 1024;
        limits.Http2.MaxStreamsPerConnection = 250;
        limits.Http2.InitialStreamWindowSize = 768 * 1024;
        limits.Http2.InitialConnectionWindowSize = 4 * 1024 * 1024;
        limits.MaxRequestBodySize = listen.MaxRequestBodyBytes == 0 ? null : listen.MaxRequestBodyBytes;
        limits.KeepAliveTimeout = listen.KeepAliveTimeout;
        limits.RequestHeadersTimeout = listen.RequestHeadersTimeout;
        limits.MinRequestBodyDataRate = listen.MinContentRate == 0 ? null : new MinDataRate(listen.MinContentRate, listen.ContentGrace); // not for streams: SlowContents
        limits.MinResponseDataRate = new MinDataRate(1, listen.StalledReadTimeout);
        kestrel.AddServerHeader = false;

        // Field values are bytes: Latin-1 maps each to itself (RFC 9110 section 5.5).
        kestrel.RequestHeaderEncodingSelector = OneAuthority.EncodingOf;
        kestrel.DisableStringReuse = true; // a value that is kept from the request before is not decoded, and so not compared
        kestrel.ResponseHeaderEncodingSelector = static _ => Encoding.Latin1;

        Bind(listen.Http, Public, null);
        Bind(listen.Https, Public, handshakes);
        Bind(listen.Admin, Admin, null);
        Bind(listen.AdminHttps, Admin, handshakes);
        BindInner();

        // Every certificate is let through here, and none but a node's goes further (HopEndpoint): who the nodes are is asked of Redis.
        void BindInner()
        {
            if (node.Certificate is { } certificate && ListenAddress.TryParse(cluster.Value.Listen, out var address))
            {
                var context = SslStreamCertificateContext.Create(certificate, null, offline: true);
                address.Bind(kestrel, endpoint =>
                {
                    endpoint.Protocols = HttpProtocols.Http2;
                    endpoint.Use(next => connection =>
                    {
                        connection.Features.Set(Node);
                        return next(connection);
                    });
                    endpoint.UseHttps(new TlsHandshakeCallbackOptions
                    {
                        OnConnection = _ => ValueTask.FromResult(new SslServerAuthenticationOptions
                        {
                            ServerCertificateContext = context,
                            ClientCertificateRequired = true,
                            RemoteCertificateValidationCallback = static (_, certificate, _, _) => certificate is not null,
                            ApplicationProtocols = [SslApplicationProtocol.Http2],
                        }),
                    });
                });
            }
        }

        void Bind(string text, AudienceFeature audience, HandshakeSelector? tls)
        {
            if (text.Length == 0 || !ListenAddress.TryParse(text, out var address))
            {
                return;
            }

            address.Bind(kestrel, endpoint =>
            {
                endpoint.Protocols = tls is null ? HttpProtocols.Http1 : HttpProtocols.Http1AndHttp2;
                endpoint.Use(next => connection =>
                {
                    connection.Features.Set(audience);
                    return next(connection);
                });
                transport.Add(endpoint.EndPoint, new Door(audience.Audience, tls is not null));

                // A device's connection has its TLS handshake behind it, and counts for as long as its tunnel.
                ConnectionDelegate? decrypted = null;
                endpoint.Use(next => connection => connection is DeviceConnection ? decrypted!(connection) : CountAsync(connection, next));
                if (tls is not null)
                {
                    endpoint.UseHttps(new TlsHandshakeCallbackOptions { OnConnection = tls.SelectAsync, HandshakeTimeout = tlsOptions.HandshakeTimeout });
                    endpoint.Use(next => decrypted = next);
                    endpoint.UseFrameGuard(frames);
                    endpoint.UseOneAuthority();
                }

                endpoint.UseStrictHttp1();
            });
        }
    }

    private static async Task CountAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        using var use = connection.Features.Get<ConnectionUse>();
        await next(connection);
    }

    /// <summary>
    /// Sends the requests of nodes and operators into pipelines of their own: no route there can match a request of another audience.
    /// What comes after is for the public.
    /// </summary>
    public static void UseAudiences(this WebApplication app, Action<IApplicationBuilder> nodes, Action<IApplicationBuilder> operators)
    {
        // The platform would put authentication before everything, visitors' requests too; here it belongs to operators alone.
        var properties = ((IApplicationBuilder)app).Properties;
        properties["__AuthenticationMiddlewareSet"] = true;
        properties["__AuthorizationMiddlewareSet"] = true;

        var (ofNodes, ofOperators) = (Build(nodes), Build(operators));
        app.Use(next => context => context.GetAudience() switch
        {
            Audience.Node => ofNodes(context),
            Audience.Admin => ofOperators(context),
            _ => next(context),
        });

        RequestDelegate Build(Action<IApplicationBuilder> configure)
        {
            var pipeline = new ApplicationBuilder(app.Services, app.Services.GetRequiredService<IServer>().Features);
            configure(pipeline);
            return pipeline.Build();
        }
    }

    /// <summary>Says in the log where the gateway listens, once it does, and that it stops.</summary>
    public static void AnnounceListeners(this WebApplication app)
    {
        var logger = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(ListenersRoom).Namespace!);
        app.Lifetime.ApplicationStarted.Register(() =>
        {
            foreach (var address in app.Urls)
            {
                LogListening(logger, address);
            }
        });
        app.Lifetime.ApplicationStopping.Register(() => LogStopping(logger));
    }

    /// <summary>The audience of the listener that a request came in through.</summary>
    public static Audience GetAudience(this HttpContext context) => context.Features.GetRequiredFeature<AudienceFeature>().Audience;

    [LoggerMessage(Level = LogLevel.Information, Message = "Listening on {Address}")]
    private static partial void LogListening(ILogger logger, string address);

    [LoggerMessage(Level = LogLevel.Information, Message = "Stopping: requests in flight may finish")]
    private static partial void LogStopping(ILogger logger);
}
