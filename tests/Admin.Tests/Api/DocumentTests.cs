using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Gateway.Admin.Api;
using Gateway.Admin.Tokens;
using Gateway.Tests.Harness;
using Microsoft.OpenApi;
using Microsoft.OpenApi.Reader;

namespace Gateway.Tests.Api;

/// <summary>The API says what it is: the OpenAPI document, and docs/failures.md.</summary>
public sealed class DocumentTests(SharedGateway shared)
{
    [Fact]
    public async Task The_OpenAPI_document_is_valid_and_complete()
    {
        using var anybody = Operator.WithToken(shared.Gateway, "");

        var text = (await anybody.GetAsync("/openapi/v1.json")).MustBe(HttpStatusCode.OK).Body;

        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text));
        var (document, diagnostic) = await OpenApiDocument.LoadAsync(stream, "json", new OpenApiReaderSettings { RuleSet = ValidationRuleSet.GetDefaultRuleSet() });
        Assert.Equal(OpenApiSpecVersion.OpenApi3_1, diagnostic!.SpecificationVersion);
        Assert.Empty(diagnostic.Errors);
        Assert.Empty(diagnostic.Warnings);
        foreach (var (path, operation) in document!.Paths.SelectMany(static path => path.Value.Operations!.Select(operation => (path.Key, operation.Value))))
        {
            Assert.True(operation.Summary is not null && operation.OperationId is not null && operation.Tags is { Count: 1 }, $"{path} is not described.");
            Assert.Contains(operation.Responses!, static response => response.Key.StartsWith('2'));
            Assert.Contains("401", operation.Responses!.Keys);
            Assert.Contains("Needs the scope", operation.Description, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Every_problem_is_documented_with_its_status()
    {
        var document = File.ReadAllText(Repository.File("docs/failures.md"));
        var problems = typeof(ApiProblem).GetFields(System.Reflection.BindingFlags.Public | System.Reflection.BindingFlags.Static).Select(static field => field.GetValue(null)).OfType<ApiProblem>().ToList();

        Assert.NotEmpty(problems);
        Assert.All(problems, problem => Assert.Matches(new Regex($@"\| `{problem.Reason}` \| [0-9, ]*{problem.Status}[0-9, ]* \|", RegexOptions.None, TimeSpan.FromSeconds(5)), document));
    }
}
