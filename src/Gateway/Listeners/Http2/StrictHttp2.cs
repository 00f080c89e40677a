using System.Buffers;
using Microsoft.Net.Http.Headers;

namespace Gateway.Listeners.Http2;

/// <summary>
/// Refuses HTTP/2 requests with fields that are malformed (RFC 9113 section 8.2) and that the server lets through: what is
/// harmless in a frame would be ambiguous as a line of HTTP/1.1.
/// </summary>
internal static class StrictHttp2
{
    private static readonly SearchValues<char> Token =
        SearchValues.Create("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    // RFC 9110 section 5.5: the C0 controls but HTAB, and DEL.
    private static readonly SearchValues<char> Controls = SearchValues.Create(
        [.. Enumerable.Range(0, 0x20).Where(static value => value != '\t').Select(static value => (char)value), '\u007f']);

    /// <summary>Comes before everybody who acts upon a request.</summary>
    /// <param name="app">The application's request pipeline.</param>
    /// <param name="refuse">Answers with 400, given the rule that was broken.</param>
    public static void UseStrictHttp2Refusal(this IApplicationBuilder app, Func<HttpContext, string, Task> refuse) => app.Use(next => context =>
        HttpProtocol.IsHttp2(context.Request.Protocol) && Violation(context.Request.Headers) is { } violation ? refuse(context, violation) : next(context));

    private static string? Violation(IHeaderDictionary fields)
    {
        foreach (var (name, values) in fields)
        {
            var start = name.StartsWith(':') ? 1 : 0;
            if (name.AsSpan(start).ContainsAnyExcept(Token))
            {
                return "a field's name is no token";
            }

            foreach (var value in values)
            {
                if (value.AsSpan().ContainsAny(Controls))
                {
                    return $"control character in the value of {name}";
                }
            }
        }

        return fields.ContainsKey(HeaderNames.TransferEncoding) ? "Transfer-Encoding belongs to HTTP/1.1" : null;
    }
}
