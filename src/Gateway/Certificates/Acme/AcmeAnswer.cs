using System.Net;
using System.Text.Json;

namespace Gateway.Certificates.Acme;

/// <summary>Reads what an ACME server answers. What says nothing is an <see cref="AcmeException"/>, and so is a refusal.</summary>
/// <param name="Asked">What was asked.</param>
/// <param name="Message">The answer; its content is here.</param>
internal readonly record struct AcmeAnswer(Uri Asked, HttpResponseMessage Message) : IDisposable
{
    /// <summary>However long a server asks to wait.</summary>
    private static readonly TimeSpan LongestRetryAfter = TimeSpan.FromDays(7);

    /// <summary>What the content says.</summary>
    public T Read<T>()
    {
        try
        {
            return JsonSerializer.Deserialize<T>(Message.Content.ReadAsStream(), AcmeJson.Options) ?? throw new JsonException("null");
        }
        catch (Exception exception) when (exception is JsonException or NotSupportedException)
        {
            throw new AcmeException(AcmeException.Garbage, $"{Asked} answered {(int)Message.StatusCode} with something that is no ACME: {exception.Message}", inner: exception);
        }
    }

    /// <summary>The address of what was made.</summary>
    public Uri Location() =>
        Message.Headers.Location is { IsAbsoluteUri: true } location ? location : throw new AcmeException(AcmeException.Garbage, $"{Asked} gives no Location.");

    /// <summary>What the server asks to wait (RFC 9110 section 10.2.3).</summary>
    public TimeSpan? RetryAfter(DateTimeOffset now)
    {
        TimeSpan? asked = Message.Headers.RetryAfter switch
        {
            { Delta: { } delta } => delta,
            { Date: { } date } when date > now => date - now,
            _ => null,
        };
        return asked > LongestRetryAfter ? LongestRetryAfter : asked;
    }

    /// <summary>When the server suggests to renew (RFC 9773 section 4.2).</summary>
    public AcmeWindow Window()
    {
        var window = Read<AcmeRenewalInfo>().SuggestedWindow;
        return window.End > window.Start
            ? window
            : throw new AcmeException(AcmeException.Garbage, $"{Asked} suggests a renewal between {window.Start:u} and {window.End:u}, which is no window.");
    }

    /// <summary>Why the server refuses (RFC 8555 section 6.7); null when it does not.</summary>
    public AcmeException? Refusal(DateTimeOffset now)
    {
        if (Message.IsSuccessStatusCode)
        {
            return null;
        }

        AcmeProblem? problem = null;
        if (Message.Content.Headers.ContentType?.MediaType is "application/problem+json" or "application/json")
        {
            try
            {
                problem = JsonSerializer.Deserialize<AcmeProblem>(Message.Content.ReadAsStream(), AcmeJson.Options);
            }
            catch (JsonException)
            {
                // The status says enough.
            }
        }

        var status = (int)Message.StatusCode;
        var word = problem?.Type is null
            ? Message.StatusCode == HttpStatusCode.TooManyRequests ? "rateLimited" : status >= 500 ? "serverInternal" : $"http{status}"
            : problem.Word;
        return new AcmeException(word, $"{Asked} answered {status}{(problem?.Type is null ? "" : $", {problem}")}", RetryAfter(now));
    }

    public void Dispose() => Message.Dispose();
}
