using System.Text.Json;
using Gateway.Admin.Dashboard;
using Gateway.Storage;

namespace Gateway.Admin.Api;

/// <summary>Turns what ends a request of an operator into a problem document.</summary>
internal sealed partial class ProblemMiddleware(RequestDelegate next, ILogger<ProblemMiddleware> logger)
{
    public async Task InvokeAsync(HttpContext context)
    {
        try
        {
            await next(context);
            if (!context.Response.HasStarted && context.Response is { ContentLength: null, ContentType: null } && Explain(context.Response.StatusCode) is { } refusal)
            {
                await refusal.WriteAsync(context);
            }
        }
        catch (Exception exception) when (context.Response.HasStarted && RedisConnection.IsUnavailable(exception))
        {
            // Whoever reads it sees that its end is missing.
            LogStore(logger, exception.Message);
            context.Abort();
        }
        catch (Exception exception) when (!context.Response.HasStarted && Explain(exception, context) is { } problem)
        {
            // People are told on a page, programs by a document.
            var isPage = context.GetEndpoint()?.Metadata.GetMetadata<DashboardEndpoint>() is not null;
            context.Response.Clear();
            await (isPage ? DashboardRoom.WriteErrorAsync(context, problem) : problem.WriteAsync(context));
        }
    }

    // What routing refuses, without a word.
    private static ApiProblem? Explain(int status) => status switch
    {
        StatusCodes.Status405MethodNotAllowed => ApiProblem.MethodNotAllowed,
        StatusCodes.Status415UnsupportedMediaType => ApiProblem.Invalid.Because("The Content-Type is not one that is taken here: send application/json.") with { Status = status },
        _ => null,
    };

    private ApiProblem? Explain(Exception exception, HttpContext context)
    {
        switch (exception)
        {
            case ApiException known:
                return known.Problem;
            case BadHttpRequestException bad:
                return (ApiProblem.Invalid with { Status = bad.StatusCode }).Because(bad.InnerException is JsonException json ? Input.WhyUnreadable(json)
                    : bad.Message.StartsWith("Implicit body inferred", StringComparison.Ordinal) ? "The body is missing: send a JSON object, {} for an empty one." : bad.Message);
            case Microsoft.AspNetCore.Antiforgery.AntiforgeryValidationException:
                return ApiProblem.Invalid.Because("The form was not made by this page, or is too old: load the page again.");
            case OperationCanceledException when context.RequestAborted.IsCancellationRequested:
                return null;
            case var _ when RedisConnection.IsUnavailable(exception):
                LogStore(logger, exception.Message);
                return ApiProblem.StoreUnavailable;
            default:
                LogFault(logger, exception);
                return ApiProblem.Internal;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "An operator's request failed: Redis does not answer: {Reason}")]
    private static partial void LogStore(ILogger logger, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "An operator's request failed")]
    private static partial void LogFault(ILogger logger, Exception exception);
}
