using Gateway.Admin.Audit;
using Gateway.Admin.Tokens;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Gateway.Admin.Api;

/// <summary><c>/devices/{uuid}/domains</c>: the domains that a device has of its own.</summary>
internal static class DomainEndpoints
{
    private const string Tag = "Domains";

    public static void MapDomains(this IEndpointRouteBuilder api)
    {
        api.MapGet("/devices/{uuid}/domains", ListAsync).WithName("ListDomains").WithTags(Tag).WithSummary("List a device's own domains")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
        api.MapPut("/devices/{uuid}/domains/{domain}", PutAsync).Needs(Scope.Operate).WithName("PutDomain").WithTags(Tag).WithSummary("Give a device a domain of its own")
            .WithDescription("Its CNAME in the DNS has to name \"target\". Its certificate comes at the first visit, if the gateway issues certificates at first use.")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound).ProducesProblem(StatusCodes.Status409Conflict);
        api.MapDelete("/devices/{uuid}/domains/{domain}", DeleteAsync).Needs(Scope.Operate).WithName("DeleteDomain").WithTags(Tag).WithSummary("Take a domain from a device")
            .ProducesProblem(StatusCodes.Status400BadRequest).ProducesProblem(StatusCodes.Status404NotFound);
    }

    private static async Task<Ok<DomainList>> ListAsync(DomainOperations operations, string uuid)
    {
        var device = Input.Uuid(uuid);
        return TypedResults.Ok(new DomainList([.. (await operations.ListAsync(device)).Select(domain => new DomainDocument(domain, operations.TargetOf(device)))]));
    }

    private static async Task<Results<Ok<DomainDocument>, Created<DomainDocument>>> PutAsync(HttpContext context, DomainOperations operations, string uuid, string domain)
    {
        var (device, name) = (Input.Uuid(uuid), Input.Domain(domain));
        var document = new DomainDocument(name.ToString(), operations.TargetOf(device));
        return await operations.AddAsync(Actor.Of(context), device, name)
            ? TypedResults.Created($"/api/v1/devices/{device}/domains/{name}", document) : TypedResults.Ok(document);
    }

    private static async Task<NoContent> DeleteAsync(HttpContext context, DomainOperations operations, string uuid, string domain)
    {
        await operations.RemoveAsync(Actor.Of(context), Input.Uuid(uuid), Input.Domain(domain));
        return TypedResults.NoContent();
    }
}
