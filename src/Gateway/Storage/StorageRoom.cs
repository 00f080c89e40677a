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
}
