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
/// the same checks and the same audit, whether a gateway runs or not. Nobody else reaches it.
/// </summary>
internal sealed class LocalApi : IAsyncDisposable
{
    private readonly WebApplication _app;

    private LocalApi(WebApplication app, ApiClient client) => (_app, Client) = (app, client);

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
        var transport = new InProcessTransport();
        builder.AddLocalListener(transport);
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
            if (exception is StoreUnavailableException || !RedisConnection.IsUnavailable(exception))
            {
                throw;
            }

            throw new StoreUnavailableException($"Redis does not answer ({exception.Message}): check {StorageOptions.Section}:Redis, start the gateway first, or name one with --server.");
        }

        return new LocalApi(app, ApiClient.InProcess(transport, token));
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
    }
}
