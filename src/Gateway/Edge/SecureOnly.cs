using Gateway.Certificates.Acme;
using Gateway.Listeners;
using Microsoft.Extensions.Options;
using Microsoft.Net.Http.Headers;

namespace Gateway.Edge;

/// <summary>Sends visitors who came without TLS to where there is some, and tells browsers to stay there (RFC 6797).</summary>
internal static class SecureOnly
{
    public static void UseSecureOnly(this WebApplication app)
    {
        var edge = app.Services.GetRequiredService<IOptions<EdgeOptions>>().Value;
        var listen = app.Services.GetRequiredService<IOptions<ListenerOptions>>().Value;
        var fields = app.Services.GetRequiredService<VisitorFields>();
        if (edge.HstsMaxAge > TimeSpan.Zero)
        {
            var value = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"max-age={(long)edge.HstsMaxAge.TotalSeconds}");
            app.Use(next => context =>
            {
                if (fields.IsSecure(context))
                {
                    // Last of all: an application's own wish stays.
                    context.Response.OnStarting(static state =>
                    {
                        var (response, value) = ((HttpResponse, string))state;
                        response.Headers.TryAdd(HeaderNames.StrictTransportSecurity, value);
                        return Task.CompletedTask;
                    }, (context.Response, value));
                }

                return next(context);
            });
        }

        if (edge.RedirectToHttps && listen.Https.Length > 0)
        {
            var port = PortOf(listen);
            app.Use(next => context => fields.IsSecure(context) || IsCheck(context) ? next(context) : RedirectAsync(context, port));
        }
    }

    // Before the gateway may stand what has ports of its own (a Service of Kubernetes): the origin that visitors see says so.
    private static int PortOf(ListenerOptions listen) =>
        Uri.TryCreate(listen.PublicOrigin.Replace('*', '0'), UriKind.Absolute, out var origin) && origin.Scheme == Uri.UriSchemeHttps ? origin.Port
        : ListenAddress.TryParse(listen.Https, out var address) ? address.EndPoint?.Port ?? 0
        : 0;

    // An ACME client on the device is checked without TLS, as the gateway's own is (RFC 8555 section 8.3).
    private static bool IsCheck(HttpContext context) => context.Request.Path.Value?.StartsWith(HttpChallenge.PathPrefix, StringComparison.Ordinal) == true;

    // Who came to the usual port goes to the usual one; who named another port came to this machine's own.
    private static Task RedirectAsync(HttpContext context, int port)
    {
        var host = context.Request.Host;
        var authority = host.Port is null or 80 || port is 0 or 443 ? host.Host : $"{host.Host}:{port}";
        context.Response.StatusCode = StatusCodes.Status308PermanentRedirect;
        var target = context.Features.Get<Microsoft.AspNetCore.Http.Features.IHttpRequestFeature>()!.RawTarget;
        context.Response.Headers.Location = $"https://{authority}{(target.StartsWith('/') ? target : "/")}";
        context.Response.Headers.CacheControl = "no-store";
        return Task.CompletedTask;
    }
}
