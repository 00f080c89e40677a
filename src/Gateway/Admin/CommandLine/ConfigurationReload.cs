using System.Runtime.InteropServices;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.CommandLine;

/// <summary>
/// SIGHUP reads the configuration anew, as servers do. Log levels (<c>Logging</c>) and the access log change at once; other
/// settings count from the next start on.
/// </summary>
internal static partial class ConfigurationReload
{
    /// <summary>Listens for the signal until disposed of.</summary>
    /// <param name="app">The running gateway.</param>
    /// <param name="read">Reads all sources; throws <see cref="ConfigurationException"/> when they cannot be used.</param>
    public static IDisposable OnHangup(WebApplication app, Action<IConfigurationManager> read)
    {
        var logger = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(ConfigurationReload).Namespace!);
        return PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal =>
        {
            signal.Cancel = true; // or the process ends
            try
            {
                // A file that is broken at the moment must not empty what is in use.
                using var tried = new ConfigurationManager();
                read(tried);
                ((IConfigurationRoot)app.Configuration).Reload();
                LogReloaded(logger);
            }
            catch (Exception exception) when (exception is ConfigurationException or OptionsValidationException or IOException or InvalidOperationException or AggregateException)
            {
                LogRefused(logger, exception.GetBaseException().Message);
            }
        });
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Configuration read anew: log levels and the access log follow it")]
    private static partial void LogReloaded(ILogger logger);

    [LoggerMessage(Level = LogLevel.Error, Message = "The configuration was not read anew, the one before stays in use: {Reason}")]
    private static partial void LogRefused(ILogger logger, string reason);
}
