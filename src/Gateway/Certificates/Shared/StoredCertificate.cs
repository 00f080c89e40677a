namespace Gateway.Certificates.Shared;

/// <summary>A certificate as all nodes share it.</summary>
/// <param name="Name">What it is kept under: the first of its names.</param>
/// <param name="Chain">PEM: the certificate, those that issued it after it.</param>
/// <param name="Key">PEM: its private key.</param>
/// <param name="Directory">The ACME directory that it came from.</param>
/// <param name="Version">The SHA-256 of the certificate, in hex.</param>
/// <param name="RenewAt">When it is to be replaced.</param>
internal sealed record StoredCertificate(string Name, string Chain, string Key, string Directory, string Version, DateTimeOffset RenewAt);

/// <summary>What stands in the store cannot be used; the message says why.</summary>
internal sealed class UnusableCertificateException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A name that could not be had, and when it is tried again.</summary>
/// <param name="Count">How often in a row.</param>
/// <param name="At">When the last attempt failed.</param>
/// <param name="Until">Not before then.</param>
/// <param name="Reason">What went wrong.</param>
internal sealed record IssuanceFailure(int Count, DateTimeOffset At, DateTimeOffset Until, string Reason);
