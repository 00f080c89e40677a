using System.CommandLine;
using Gateway.Certificates;
using Gateway.Certificates.Acme;
using Gateway.Certificates.SelfSigned;
using Gateway.Certificates.Shared;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway certificate list|renew|revoke|root|new-encryption-key|reencrypt</c>.</summary>
internal static class CertificateCommands
{
    public static Command Create(Action<ParseResult, IConfigurationManager> configure)
    {
        var list = new ExplainedCommand("list", "Lists the certificates in the store, when they end and are renewed, and what went wrong.", "Example: gateway certificate list");
        list.SetAction((result, _) => RunAsync(result, configure, ListAsync));

        var renewed = new Argument<string>("name") { Description = "As \"certificate list\" shows it" };
        var renew = new ExplainedCommand("renew", "Has a certificate ordered anew by a gateway that runs, within seconds.", "Example: gateway certificate renew kitchen.example.com") { renewed };
        renew.SetAction((result, _) => RunAsync(result, configure, services => RenewAsync(services, result.GetValue(renewed)!.ToLowerInvariant())));

        var revoked = new Argument<string>("name") { Description = "As \"certificate list\" shows it" };
        var reason = new Option<int>("--reason") { HelpName = "number", Description = "RFC 5280: 0 unspecified, 1 key compromise, 4 superseded, 5 cessation of operation", DefaultValueFactory = static _ => 4 };
        reason.AcceptOnlyFromAmong("0", "1", "4", "5");
        var revoke = new ExplainedCommand("revoke", "Revokes a certificate at the authority that issued it, and has another one ordered.", "Example: gateway certificate revoke kitchen.example.com --reason 1") { revoked, reason };
        revoke.SetAction((result, cancellationToken) =>
            RunAsync(result, configure, services => RevokeAsync(services, result.GetValue(revoked)!.ToLowerInvariant(), result.GetValue(reason), cancellationToken)));

        var root = new ExplainedCommand("root", "Prints the root of the development CA (Certificates:Source SelfSigned), made if there is none yet.", "Example: gateway certificate root > root.pem");
        root.SetAction((result, _) => RunAsync(result, configure, static services =>
        {
            Console.WriteLine(services.GetRequiredService<LocalAuthority>().Root.ExportCertificatePem());
            return Task.FromResult(ExitCode.Ok);
        }));

        var newKey = new ExplainedCommand("new-encryption-key", "Prints a new value for Certificates:EncryptionKey.", "Example: gateway certificate new-encryption-key > encryption.key");
        newKey.SetAction(static _ => Console.WriteLine(KeyProtector.NewKey()));

        var reencrypt = new ExplainedCommand(
            "reencrypt", "Encrypts the private keys in the store with the first of Certificates:EncryptionKey; then the others may go.",
            "Example: gateway certificate reencrypt");
        reencrypt.SetAction((result, _) => RunAsync(result, configure, ReencryptAsync));
        return new Command("certificate", "Certificates.") { list, renew, revoke, root, newKey, reencrypt };
    }

    private static Task<int> RunAsync(ParseResult result, Action<ParseResult, IConfigurationManager> configure, Func<IServiceProvider, Task<int>> act) =>
        StoreVerb.RunAsync(
            result, configure, static services =>
            {
                services.AddMetrics();
                services.AddCertificateStore();
                services.AddSingleton<LocalAuthority>();
            },
            act);

    private static async Task<int> ListAsync(IServiceProvider services)
    {
        var store = services.GetRequiredService<CertificateStore>();
        var names = await store.ListAsync();
        foreach (var name in names)
        {
            Console.WriteLine($"{name}: {await DescribeAsync(store, name)}");
        }

        if (names.Count == 0)
        {
            await Console.Error.WriteLineAsync("gateway: there is no certificate in the store yet.");
        }

        return ExitCode.Ok;
    }

    private static async Task<string> DescribeAsync(CertificateStore store, string name)
    {
        string what;
        try
        {
            if (await store.FindAsync(name) is { } stored)
            {
                using var certificate = System.Security.Cryptography.X509Certificates.X509Certificate2.CreateFromPem(stored.Chain);
                what = $"good until {certificate.End:u}, renewed {stored.RenewAt:u}, from {stored.Directory}";
            }
            else
            {
                what = "none yet";
            }
        }
        catch (UnusableCertificateException exception)
        {
            what = $"unusable: {exception.Message}";
        }

        return await store.FindFailureAsync(name) is { } failure ? $"{what}; failed {failure.Count} times, next attempt {failure.Until:u}: {failure.Reason}" : what;
    }

    private static async Task<int> RenewAsync(IServiceProvider services, string name)
    {
        var store = services.GetRequiredService<CertificateStore>();
        if (await store.FindScheduleAsync(name) is null)
        {
            return await StoreVerb.FailAsync($"there is no certificate of {name}.", ExitCode.NotFound);
        }

        await store.HurryAsync(name);
        Console.WriteLine($"to be renewed: {name}");
        return ExitCode.Ok;
    }

    private static async Task<int> ReencryptAsync(IServiceProvider services)
    {
        var store = services.GetRequiredService<CertificateStore>();
        var (done, newest, failed) = (0, 0, 0);
        await foreach (var place in store.ListSecretsAsync())
        {
            try
            {
                if (await store.ReencryptAsync(place))
                {
                    done++;
                    Console.WriteLine($"encrypted anew: {place}");
                }
                else
                {
                    newest++;
                }
            }
            catch (UnusableCertificateException exception)
            {
                failed++;
                await Console.Error.WriteLineAsync($"gateway: {place} stays as it is: {exception.Message}");
            }
        }

        Console.WriteLine($"{done} encrypted anew, {newest} with the newest key before, {failed} that cannot be decrypted");
        return failed == 0 ? ExitCode.Ok : ExitCode.Failure;
    }

    private static async Task<int> RevokeAsync(IServiceProvider services, string name, int reason, CancellationToken cancellationToken)
    {
        var store = services.GetRequiredService<CertificateStore>();
        try
        {
            if (await store.FindAsync(name) is not { } stored)
            {
                return await StoreVerb.FailAsync($"there is no certificate of {name}.", ExitCode.NotFound);
            }

            await services.GetRequiredService<AcmeIssuer>().RevokeAsync(stored, reason, cancellationToken);
            await store.HurryAsync(name);
            Console.WriteLine($"revoked: {name} ({stored.Version}); another one is ordered");
            return ExitCode.Ok;
        }
        catch (Exception exception) when (exception is UnusableCertificateException or AcmeException)
        {
            return await StoreVerb.FailAsync($"{name}: {exception.Message}", ExitCode.Failure);
        }
    }
}
