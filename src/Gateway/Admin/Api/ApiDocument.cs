using Gateway.Admin.Tokens;
using Microsoft.OpenApi;

namespace Gateway.Admin.Api;

/// <summary>The OpenAPI 3.1 document of the API, made from the endpoints themselves.</summary>
internal static class ApiDocument
{
    private const string SchemeName = "token";

    public static void AddApiDocument(this IServiceCollection services) => services.AddOpenApi(ApiRoom.Document, static options =>
    {
        options.OpenApiVersion = OpenApiSpecVersion.OpenApi3_1;
        options.AddDocumentTransformer(static (document, _, _) =>
        {
            document.Info = new OpenApiInfo
            {
                Title = "Device gateway",
                Version = GeneralEndpoints.Version,
                Description = "Devices, their keys and their public URLs. Errors are problem documents (RFC 9457).",
                License = new OpenApiLicense { Name = "MIT", Identifier = "MIT" },
            };
            document.Servers = [new OpenApiServer { Url = "/" }];
            document.Components ??= new OpenApiComponents();
            document.Components.SecuritySchemes ??= new Dictionary<string, IOpenApiSecurityScheme>(StringComparer.Ordinal);
            document.Components.SecuritySchemes[SchemeName] = new OpenApiSecurityScheme
            {
                Type = SecuritySchemeType.Http, Scheme = "bearer", Description = "An operator's token, dgt_...",
            };
            document.Security = [new OpenApiSecurityRequirement { [new OpenApiSecuritySchemeReference(SchemeName, document)] = [] }];
            return Task.CompletedTask;
        });
        options.AddOperationTransformer(static (operation, context, _) =>
        {
            if (context.Description.ActionDescriptor.EndpointMetadata.OfType<ScopeNeeded>().LastOrDefault() is { } needed)
            {
                operation.Description = $"{operation.Description} Needs the scope {needed.Scope.Name()}.".Trim();
            }

            return Task.CompletedTask;
        });
    });
}
