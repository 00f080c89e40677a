using System.CommandLine;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway health</c>: asks a running gateway, for images and orchestrators that have no other client.</summary>
internal static class HealthCommand
{
    private const string Default = "http://127.0.0.1:8081/readyz";

    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(5);

    public static Command Create()
    {
        var url = new Option<string?>("--url") { HelpName = "url", Description = $"Where to ask (default {Default})" };
        url.Validators.Add(static result =>
        {
            if (result.Tokens is [var token] && !(Uri.TryCreate(token.Value, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"))
            {
                result.AddError($"--url {token.Value}: give an address, e.g. http://127.0.0.1:8081/readyz.");
            }
        });
        var command = new ExplainedCommand("health", "Asks a running gateway whether it is ready; the exit status says it.", "Example: gateway health --url http://127.0.0.1:8081/readyz") { url };
        command.SetAction((result, cancellationToken) => AskAsync(new Uri(result.GetValue(url) ?? Default), cancellationToken));
        return command;
    }

    private static async Task<int> AskAsync(Uri url, CancellationToken cancellationToken)
    {
        using var client = new HttpClient { Timeout = Timeout };
        try
        {
            using var response = await client.GetAsync(url, cancellationToken);
            Console.WriteLine(await response.Content.ReadAsStringAsync(cancellationToken));
            return response.IsSuccessStatusCode ? ExitCode.Ok : ExitCode.Failure;
        }
        catch (Exception exception) when (exception is HttpRequestException or TaskCanceledException)
        {
            await Console.Error.WriteLineAsync($"gateway: {url} does not answer: {exception.GetBaseException().Message}");
            return ExitCode.Unavailable;
        }
    }
}
