using System.ComponentModel;
using System.Diagnostics;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Dns;

/// <summary>
/// Publishes by a program of the operator's: <c>COMMAND present|cleanup _acme-challenge.&lt;domain&gt;. VALUE</c>, as the hooks of
/// lego's "exec" provider are called. Status 0 means done.
/// </summary>
internal sealed class CommandPublisher(IOptions<CertificateOptions> options) : IDnsPublisher
{
    private const int MaxOutput = 500;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    public Task AddAsync(string domain, string value, CancellationToken cancellationToken) => RunAsync("present", domain, value, cancellationToken);

    public Task RemoveAsync(string domain, string value, CancellationToken cancellationToken) => RunAsync("cleanup", domain, value, cancellationToken);

    private async Task RunAsync(string verb, string domain, string value, CancellationToken cancellationToken)
    {
        var program = options.Value.Acme.Dns.Command;
        var start = new ProcessStartInfo(program, [verb, $"{DnsNames.ChallengeOf(domain)}.", value]) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true, UseShellExecute = false };
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timeout.CancelAfter(Patience);
        Process process;
        try
        {
            process = Process.Start(start) ?? throw new DnsPublishException($"{program} could not be started.");
        }
        catch (Win32Exception exception)
        {
            throw new DnsPublishException($"{program} could not be started: {exception.Message}", exception);
        }

        using (process)
        {
            try
            {
                process.StandardInput.Close();
                var output = Task.WhenAll(process.StandardOutput.ReadToEndAsync(timeout.Token), process.StandardError.ReadToEndAsync(timeout.Token));
                await process.WaitForExitAsync(timeout.Token);
                if (process.ExitCode != 0)
                {
                    var said = string.Join(' ', await output).Trim();
                    throw new DnsPublishException($"{program} {verb} {DnsNames.ChallengeOf(domain)}. ended with status {process.ExitCode}: {(said.Length > MaxOutput ? said[..MaxOutput] : said)}");
                }
            }
            catch (OperationCanceledException)
            {
                process.Kill(entireProcessTree: true);
                if (!cancellationToken.IsCancellationRequested)
                {
                    throw new DnsPublishException($"{program} {verb} {DnsNames.ChallengeOf(domain)}. did not end within {Patience.TotalMinutes} minutes.");
                }

                throw;
            }
        }
    }
}
