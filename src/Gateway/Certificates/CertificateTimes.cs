using System.Security.Cryptography.X509Certificates;

namespace Gateway.Certificates;

/// <summary>When a certificate is good, as points in time.</summary>
internal static class CertificateTimes
{
    extension(X509Certificate2 certificate)
    {
        /// <summary>From when on.</summary>
        public DateTimeOffset Begin => new(certificate.NotBefore.ToUniversalTime());

        /// <summary>Until when.</summary>
        public DateTimeOffset End => new(certificate.NotAfter.ToUniversalTime());
    }
}
