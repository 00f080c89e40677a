// The measure: YARP's direct forwarding, one hop, as its documentation shows it. Arguments: the address to listen on, the
// application's; for an https address the PEM files of a certificate and its key too.
using System.Diagnostics;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using Yarp.ReverseProxy.Forwarder;

var builder = WebApplication.CreateSlimBuilder();
builder.Logging.ClearProviders();
builder.Services.AddHttpForwarder();
builder.WebHost.UseUrls(args[0]).ConfigureKestrel(static kestrel => kestrel.Limits.MaxRequestBodySize = null);
if (args is [_, _, var certificate, var key])
{
    builder.WebHost.UseKestrelHttpsConfiguration();
    builder.WebHost.ConfigureKestrel(kestrel => kestrel.ConfigureHttpsDefaults(https => https.ServerCertificate = X509Certificate2.CreateFromPemFile(certificate, key)));
}

var app = builder.Build();

var forwarder = app.Services.GetRequiredService<IHttpForwarder>();
using var client = new HttpMessageInvoker(new SocketsHttpHandler
{
    UseProxy = false,
    AllowAutoRedirect = false,
    AutomaticDecompression = DecompressionMethods.None,
    UseCookies = false,
    EnableMultipleHttp2Connections = true,
    ActivityHeadersPropagator = new ReverseProxyPropagator(DistributedContextPropagator.Current),
    ConnectTimeout = TimeSpan.FromSeconds(15),
});
app.Run(async context => await forwarder.SendAsync(context, args[1], client, ForwarderRequestConfig.Empty, HttpTransformer.Default));
await app.RunAsync();
