using Gateway.Admin.Tokens;
using Gateway.Cluster;
using Gateway.Devices;
using Gateway.Listeners;
using Gateway.Storage;
using Gateway.Telemetry;
using Microsoft.Extensions.Options;

namespace Gateway.Admin.CommandLine;

/// <summary>
/// The API in this process, on the store itself, for the first set-up and for emergencies: the verbs are the same, with
/// the same checks and the same audit, whether a gateway runs or not. It listens on a socket in a folder that only this user may enter.
/// </summary>
internal sealed class LocalApi : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly DirectoryInfo _folder;

    private LocalApi(WebApplication app, DirectoryInfo folder, ApiClient client) => (_app, _folder, Client) = (app, folder, client);

    public ApiClient Client { get; }

    /// <exception cref="StoreUnavailableException">There is no store.</exception>
    public static async Task<LocalApi> StartAsync(Action<IConfigurationManager> configure)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        configure(builder.Configuration);
        builder.AddMeasures();
        builder.AddStorage();
        builder.Services.BePatientWithStore();
        builder.AddDevices();
        builder.AddClusterView();
        builder.AddAdmin(local: true);

        var token = OperatorToken.NewText();
        builder.Services.PostConfigure<AdminOptions>(admin => (admin.InitialToken, admin.InitialTokenName, admin.InitialTokenIsPassing) = (token, $"command line ({Environment.UserName})", true));
        var folder = Directory.CreateTempSubdirectory("gateway-");   // the platform gives it to this user alone
        var socket = Path.Combine(folder.FullName, "api.sock");
        builder.AddLocalListener(socket);
        var app = builder.Build();
        app.UseAudiences(nodes: static _ => { }, operators: static admin => admin.MapAdmin());
        try
        {
            app.Services.GetRequiredService<IStartupValidator>().Validate();
            await app.StartAsync();
            await app.Services.GetRequiredService<RedisConnection>().WaitAtTerminalAsync();
            await app.Services.GetRequiredService<Nodes>().RefreshAsync();
        }
        catch (Exception exception)
        {
            await app.DisposeAsync();
            folder.Delete(recursive: true);
            if (exception is StoreUnavailableException || !RedisConnection.IsUnavailable(exception))
            {
                throw;
            }

            throw new StoreUnavailableException($"Redis does not answer ({exception.Message}): check {StorageOptions.Section}:Redis, start the gateway first, or name one with --server.");
        }

        return new LocalApi(app, folder, ApiClient.OnSocket(socket, token));
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}
