namespace Gateway.Admin.CommandLine;

/// <summary>The exit statuses of <c>gateway</c>, after sysexits.h; docs/configuration.md lists them.</summary>
internal static class ExitCode
{
    public const int Ok = 0;

    /// <summary>Something failed that is none of the below.</summary>
    public const int Failure = 1;

    /// <summary>Wrong usage: an unknown verb or option, or a bad value of one.</summary>
    public const int Usage = 2;

    /// <summary>What was named does not exist, an unknown device for example.</summary>
    public const int NotFound = 3;

    /// <summary>The store, or an address to listen on, cannot be had now (EX_UNAVAILABLE).</summary>
    public const int Unavailable = 69;

    /// <summary>The token is missing, wrong, or may not do this (EX_NOPERM).</summary>
    public const int Denied = 77;

    /// <summary>The configuration is wrong (EX_CONFIG).</summary>
    public const int Configuration = 78;
}
