using System.CommandLine;
using Gateway.Listeners;
using Gateway.Storage;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.CommandLine;

/// <summary>Runs a verb that works on the store, beside a gateway that runs or without one.</summary>
internal static class StoreVerb
{
    /// <param name="result">The parsed command line.</param>
    /// <param name="configure">Adds the settings.</param>
    /// <param name="add">Adds what the verb needs beyond the store and the domains.</param>
    /// <param name="act">The verb.</param>
    /// <returns>The exit status.</returns>
    public static async Task<int> RunAsync(
        ParseResult result, Action<ParseResult, IConfigurationManager> configure, Action<IServiceCollection> add, Func<IServiceProvider, Task<int>> act)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        configure(result, builder.Configuration);
        builder.AddStorage();
        builder.Services.BePatientWithStore();
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddOptions<DomainOptions>().BindConfiguration(DomainOptions.Section);
        builder.Services.AddSingleton<IValidateOptions<DomainOptions>, DomainOptions.Validator>();
        builder.Services.AddSingleton<HostNames>();
        add(builder.Services);
        await using var services = builder.Services.BuildServiceProvider();
        var redis = services.GetRequiredService<RedisConnection>();
        await redis.StartAsync(CancellationToken.None);
        try
        {
            await redis.WaitAtTerminalAsync();
            return await act(services);
        }
        catch (Exception exception) when (RedisConnection.IsUnavailable(exception))
        {
            throw exception as StoreUnavailableException
                ?? new StoreUnavailableException($"Redis does not answer ({exception.Message}): check {StorageOptions.Section}:Redis, or start the gateway first.");
        }
    }

    /// <summary>Says on standard error what is wrong.</summary>
    /// <returns>The status that was given.</returns>
    public static async Task<int> FailAsync(string message, int status)
    {
        await Console.Error.WriteLineAsync($"gateway: {message}");
        return status;
    }
}
