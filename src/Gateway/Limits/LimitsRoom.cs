using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

namespace Gateway.Limits;

internal static class LimitsRoom
{
    public static void AddLimits(this WebApplicationBuilder builder)
    {
        var services = builder.Services;
        services.AddOptions<LimitOptions>().BindConfiguration(LimitOptions.Section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<LimitOptions>, LimitOptions.Validator>();
        services.TryAddSingleton<MemoryUse>();
        services.AddSingleton<NodeBudget>();
        services.AddSingleton<ConnectionBudget>();
        services.AddSingleton<MemoryWatch>();
        services.AddHostedService(static provider => provider.GetRequiredService<MemoryWatch>());
        services.AddHostedService<QuietMemory>();
        services.AddSingleton<VisitorBudgets>();
        services.AddHostedService(static provider => provider.GetRequiredService<VisitorBudgets>());
    }
}
