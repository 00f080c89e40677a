using Microsoft.Extensions.Options;

namespace Gateway.Certificates;

internal static class CertificatesRoom
{
    public static void AddCertificates(this WebApplicationBuilder builder)
    {
        builder.Services.AddOptions<CertificateOptions>().BindConfiguration(CertificateOptions.Section).ValidateOnStart();
        builder.Services.AddSingleton<IValidateOptions<CertificateOptions>, CertificateOptions.Validator>();
        builder.Services.AddSingleton<CertificateSelector>();
        builder.Services.AddHostedService(static services => services.GetRequiredService<CertificateSelector>());
    }
}
