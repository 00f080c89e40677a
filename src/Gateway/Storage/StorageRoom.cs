using Microsoft.Extensions.Options;

namespace Gateway.Storage;

internal static class StorageRoom
{
    public static void AddStorage(this WebApplicationBuilder builder)
    {
        builder.Services.AddOptions<StorageOptions>().BindConfiguration(StorageOptions.Section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<StorageOptions>, StorageOptions.Validator>();
        builder.Services.AddSingleton<RedisConnection>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<RedisConnection>());
        builder.Services.AddHostedService<StoreWatch>();
        builder.Services.AddSingleton<StoreMark>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<StoreMark>());
    }

    /// <summary>
    /// For a command at a terminal: no visitor waits for it, and its first questions come while everything still starts, on a
    /// busy machine for seconds.
    /// </summary>
    public static void BePatientWithStore(this IServiceCollection services) => services.PostConfigure<StorageOptions>(
        static storage => storage.Timeout = storage.Timeout > StorageOptions.AtTerminal ? storage.Timeout : StorageOptions.AtTerminal);
}
