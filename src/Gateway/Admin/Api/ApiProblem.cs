using System.Globalization;
using Microsoft.AspNetCore.Mvc;

namespace Gateway.Admin.Api;

/// <summary>What the API refuses, by name: a problem document (RFC 9457); docs/failures.md explains each.</summary>
/// <param name="Reason">The last part of the problem's <c>type</c>.</param>
public sealed record ApiProblem(string Reason, int Status, string Title, string Detail)
{
    private const string TypePrefix = "urn:device-gateway:problem:";

    public static readonly ApiProblem Unauthenticated = new(
        "unauthenticated", StatusCodes.Status401Unauthorized, "A token is needed",
        "Send \"Authorization: Bearer <token>\" with an operator's token that is neither revoked nor expired. \"gateway token create\" makes one.");

    public static readonly ApiProblem TooManyFailures = new(
        "too-many-failures", StatusCodes.Status429TooManyRequests, "Too many wrong tokens from this address", "Wait a minute, and check the token.");

    public static readonly ApiProblem Forbidden = new("forbidden", StatusCodes.Status403Forbidden, "The token may not do this", "");

    public static readonly ApiProblem UnknownDevice = new("unknown-device", StatusCodes.Status404NotFound, "There is no such device", "");

    public static readonly ApiProblem UnknownKey = new("unknown-key", StatusCodes.Status404NotFound, "The device has no such key", "");

    public static readonly ApiProblem UnknownToken = new("unknown-token", StatusCodes.Status404NotFound, "There is no such token", "");

    public static readonly ApiProblem UnknownDomain = new("unknown-domain", StatusCodes.Status404NotFound, "The device has no such domain", "");

    public static readonly ApiProblem NoSuchPage = new(
        "no-such-page", StatusCodes.Status404NotFound, "There is nothing at this address", "The API is described at /openapi/v1.json, and for people at /reference.");

    public static readonly ApiProblem MethodNotAllowed = new(
        "method-not-allowed", StatusCodes.Status405MethodNotAllowed, "There is no such operation", "The Allow field names those that there are.");

    public static readonly ApiProblem DeviceExists = new("device-exists", StatusCodes.Status409Conflict, "The device exists already", "");

    public static readonly ApiProblem UuidUsed = new(
        "uuid-used", StatusCodes.Status409Conflict, "The uuid belonged to a device that was deleted", "A uuid is never given twice; leave it out to get a new one.");

    public static readonly ApiProblem DomainTaken = new("domain-taken", StatusCodes.Status409Conflict, "The domain belongs to another device", "");

    public static readonly ApiProblem Conflict = new("conflict", StatusCodes.Status409Conflict, "That is not possible", "");

    public static readonly ApiProblem Changed = new(
        "changed-meanwhile", StatusCodes.Status412PreconditionFailed, "The device has changed meanwhile", "Read it again, and send the new ETag in If-Match.");

    public static readonly ApiProblem Invalid = new("invalid-request", StatusCodes.Status400BadRequest, "The request is not valid", "");

    public static readonly ApiProblem SelfServiceOff = new(
        "self-service-off", StatusCodes.Status403Forbidden, "The device may not switch its public URL", "Its operator can allow it: selfService.");

    public static readonly ApiProblem StoreUnavailable = new(
        "store-unavailable", StatusCodes.Status503ServiceUnavailable, "Redis does not answer", "Nothing is known to have been changed; try again.");

    public static readonly ApiProblem Internal = new(
        "internal-error", StatusCodes.Status500InternalServerError, "The gateway failed", "This is a fault of the gateway; its log has the reason.");

    /// <summary>The same problem with what exactly is wrong.</summary>
    public ApiProblem Because(string detail) => this with { Detail = detail };

    /// <summary>For throwing from where the answer is not made.</summary>
    internal ApiException Exception(string? detail = null) => new(detail is null ? this : Because(detail));

    public Task WriteAsync(HttpContext context)
    {
        var response = context.Response;
        response.StatusCode = Status;
        response.Headers.CacheControl = "no-store";
        if (Status == StatusCodes.Status503ServiceUnavailable)
        {
            response.Headers.RetryAfter = 2.ToString(CultureInfo.InvariantCulture);
        }

        return response.WriteAsJsonAsync(
            new ProblemDetails { Type = TypePrefix + Reason, Title = Title, Status = Status, Detail = Detail }, options: null, contentType: "application/problem+json");
    }
}

/// <summary>Ends a request with a problem.</summary>
internal sealed class ApiException(ApiProblem problem) : Exception(problem.Detail)
{
    public ApiProblem Problem => problem;
}
