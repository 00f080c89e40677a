using System.Runtime.InteropServices;

namespace Gateway.Limits;

/// <summary>
/// Keeps what TLS takes from the C library together. glibc gives threads arenas of their own, up to eight for each processor,
/// and none of them takes what another one has free: with thousands of tunnels that is about 6 KB a tunnel.
/// </summary>
internal static partial class NativeArenas
{
    // From malloc.h.
    private const int ArenaMax = -8;

    /// <summary>
    /// One arena for each processor from now on; an operator's own <c>MALLOC_ARENA_MAX</c> stays. Other C libraries have nothing like it.
    /// </summary>
    public static void Limit()
    {
        if (Environment.GetEnvironmentVariable("MALLOC_ARENA_MAX") is not null)
        {
            return;
        }

        IfGlibc(static () => Mallopt(ArenaMax, Environment.ProcessorCount));
    }

    /// <summary>Gives the pages back that lie free between what is in use.</summary>
    public static void GiveBack() => IfGlibc(static () => MallocTrim(0));

    private static void IfGlibc(Func<int> call)
    {
        try
        {
            _ = OperatingSystem.IsLinux() ? call() : 0;
        }
        catch (Exception exception) when (exception is DllNotFoundException or EntryPointNotFoundException)
        {
            // Another C library.
        }
    }

    [LibraryImport("libc.so.6", EntryPoint = "mallopt")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Mallopt(int parameter, int value);

    [LibraryImport("libc.so.6", EntryPoint = "malloc_trim")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int MallocTrim(nuint pad);
}
