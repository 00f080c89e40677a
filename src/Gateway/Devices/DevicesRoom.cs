using Microsoft.Extensions.Options;

namespace Gateway.Devices;

internal static class DevicesRoom
{
    public static void AddDevices(this WebApplicationBuilder builder)
    {
        builder.Services.AddOptions<DeviceOptions>().BindConfiguration(DeviceOptions.Section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<DeviceOptions>, DeviceOptions.Validator>();
        builder.Services.AddSingleton<DeviceStore>();
        builder.Services.AddSingleton<DeviceActivity>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<DeviceActivity>());
        builder.Services.AddSingleton<DeviceDirectory>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<DeviceDirectory>());
        builder.Services.AddSingleton<DomainStore>();
        builder.Services.AddSingleton<DomainDirectory>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<DomainDirectory>());
    }
}
