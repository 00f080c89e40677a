using System.Net.Security;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Gateway.Tunnels;

/// <summary>
/// Lets OpenSSL give back a connection's record buffers while nothing is under way, as other servers with many idle
/// connections do (<c>SSL_MODE_RELEASE_BUFFERS</c>), and what the handshake went through. The platform has no setting for it, so this
/// reaches for the handle that <see cref="SslStream"/> keeps to itself; where it is not found, an idle tunnel costs more and nothing else differs.
/// </summary>
internal static partial class TlsBuffers
{
    // From openssl/ssl.h; both are part of its stable interface since 1.0.0.
    private const int ControlMode = 33;
    private const nint ReleaseBuffers = 0x10;

    // From openssl/bio.h: a BIO whose bytes are in memory is of type 1 among sources and sinks (0x400).
    private const int MemoryType = 0x401;
    private const int ControlPending = 10;
    private const int ControlSetBuffer = 114;
    private const nint CloseWithIt = 1;

    private static readonly FieldInfo? Handle = typeof(SslStream).GetField("_securityContext", BindingFlags.NonPublic | BindingFlags.Instance);
    private static readonly bool IsSupported = OperatingSystem.IsLinux() && SafeEvpPKeyHandle.OpenSslVersion >> 28 == 3;

    /// <summary>
    /// Takes effect at once. To be called while nobody reads or writes, and when all that has arrived has been read.
    /// </summary>
    /// <returns>False where the platform does not allow it.</returns>
    public static bool ReleaseWhenIdle(SslStream stream)
    {
        var released = false;
        WithHandle(stream, ssl =>
        {
            released = (Control(ssl, ControlMode, ReleaseBuffers, 0) & ReleaseBuffers) != 0;

            // Looking for a record that is not there gives the buffer back that the handshake was read with.
            _ = Peek(ssl, out _, 1);
            Replace(ReadingEnd(ssl));
            Replace(WritingEnd(ssl));
        });
        return released;
    }

    /// <summary>
    /// Gives back what a large body was read through, 22 KB. To be called by whoever reads, between two reads: writing does not touch it.
    /// </summary>
    /// <param name="stream">A <see cref="SslStream"/>.</param>
    public static void ReleaseRead(Stream stream) => WithHandle((SslStream)stream, static ssl => Replace(ReadingEnd(ssl)));

    private static void WithHandle(SslStream stream, Action<nint> action)
    {
        if (!IsSupported || Handle?.GetValue(stream) is not SafeHandle { IsInvalid: false, IsClosed: false } handle)
        {
            return;
        }

        var held = false;
        try
        {
            handle.DangerousAddRef(ref held);
            action(handle.DangerousGetHandle());
        }
        catch (ObjectDisposedException)
        {
            // The connection has just ended.
        }
        finally
        {
            if (held)
            {
                handle.DangerousRelease();
            }
        }
    }

    /// <summary>A buffer in memory grows to the longest record or flight of the handshake, and never shrinks: an empty one takes its place.</summary>
    private static void Replace(nint end)
    {
        if (end == 0 || TypeOf(end) != MemoryType || ControlEnd(end, ControlPending, 0, 0) != 0)
        {
            return;
        }

        var empty = NewBuffer();
        if (empty != 0 && ControlEnd(end, ControlSetBuffer, CloseWithIt, empty) != 1)
        {
            FreeBuffer(empty);
        }
    }

    [LibraryImport("libssl.so.3", EntryPoint = "SSL_ctrl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint Control(nint ssl, int command, nint value, nint pointer);

    [LibraryImport("libssl.so.3", EntryPoint = "SSL_peek")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Peek(nint ssl, out byte buffer, int count);

    [LibraryImport("libssl.so.3", EntryPoint = "SSL_get_rbio")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial nint ReadingEnd(nint ssl);

    [LibraryImport("libssl.so.3", EntryPoint = "SSL_get_wbio")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    internal static partial nint WritingEnd(nint ssl);

    [LibraryImport("libcrypto.so.3", EntryPoint = "BIO_method_type")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int TypeOf(nint end);

    [LibraryImport("libcrypto.so.3", EntryPoint = "BIO_ctrl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint ControlEnd(nint end, int command, nint value, nint pointer);

    [LibraryImport("libcrypto.so.3", EntryPoint = "BUF_MEM_new")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial nint NewBuffer();

    [LibraryImport("libcrypto.so.3", EntryPoint = "BUF_MEM_free")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void FreeBuffer(nint buffer);
}
