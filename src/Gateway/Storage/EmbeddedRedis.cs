using System.Net;
using System.Net.Sockets;
using Garnet;
using Garnet.server;
using Tsavorite.core;

namespace Gateway.Storage;

/// <summary>
/// The Redis server of a gateway that was given none: Microsoft.Garnet in this process, reached only through a Unix domain
/// socket in its data folder, whose permissions are its access control. Every write is on disk before it is answered.
/// </summary>
internal sealed class EmbeddedRedis : IAsyncDisposable
{
    private readonly GarnetServer? _server;
    private readonly FileStream? _lock;

    private EmbeddedRedis(string socket, GarnetServer? server, FileStream? held)
    {
        EndPoint = new UnixDomainSocketEndPoint(socket);
        _server = server;
        _lock = held;
    }

    /// <summary>Where clients connect to.</summary>
    public EndPoint EndPoint { get; }

    /// <summary>Starts the server, or shares the one that another process of this gateway runs on the same folder.</summary>
    /// <exception cref="StoreUnavailableException">The folder cannot be used; the message says why.</exception>
    public static EmbeddedRedis StartOrShare(string dataDirectory, ILoggerFactory? loggers)
    {
        var directory = Path.GetFullPath(dataDirectory);
        try
        {
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(directory);
            }
            else
            {
                Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StoreUnavailableException($"{StorageOptions.Section}:DataDirectory {directory} cannot be made: {exception.Message}");
        }

        // A Unix socket's path is at most 107 bytes (sockaddr_un).
        var socket = Path.Combine(directory, "redis.sock");
        if (System.Text.Encoding.UTF8.GetByteCount(socket) > 100)
        {
            throw new StoreUnavailableException($"{StorageOptions.Section}:DataDirectory {directory} is too long for the store's socket: give a path of at most 88 bytes.");
        }

        var held = TryLock(Path.Combine(directory, "lock"));
        if (held is null)
        {
            return new EmbeddedRedis(socket, null, null);
        }

        File.Delete(socket);
        GarnetServer? server = null;
        try
        {
            // Made from options, not from a command line: that would also listen on a TCP port, which any local user reaches.
            server = new GarnetServer(
                new GarnetServerOptions
                {
                    EndPoints = [new UnixDomainSocketEndPoint(socket)],
                    UnixSocketPath = socket,
                    UnixSocketPermission = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
                    CheckpointDir = directory,
                    LogMemorySize = "64m",
                    IndexMemorySize = "8m",
                    PageSize = "1m",
                    EnableAOF = true,
                    AofMemorySize = "16m",
                    AofPageSize = "4m",
                    AofSizeLimit = "64m",
                    CommitFrequencyMs = 0,
                    WaitForCommit = true,
                    Recover = true,
                    EnableLua = true,
                    LuaOptions = new LuaOptions(LuaMemoryManagementMode.Native, "", Timeout.InfiniteTimeSpan, LuaLoggingMode.Silent, []),
                    // The default on Linux needs libaio and ends the process without it.
                    DeviceType = DeviceType.RandomAccess,
                    QuietMode = true,
                },
                loggers is null ? null : new GarnetLoggers(loggers));
            server.Start();
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            server?.Dispose();
            held.Dispose();
            throw new StoreUnavailableException($"The embedded store in {directory} cannot be started: {exception.Message}");
        }

        return new EmbeddedRedis(socket, server, held);
    }

    public ValueTask DisposeAsync()
    {
        _server?.Dispose();
        _lock?.Dispose();
        return ValueTask.CompletedTask;
    }

    private static FileStream? TryLock(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }

    // Garnet's categories have short names ("Options"); under one prefix they can be filtered.
    private sealed class GarnetLoggers(ILoggerFactory loggers) : ILoggerFactory
    {
        public ILogger CreateLogger(string categoryName) => loggers.CreateLogger($"Garnet.{categoryName}");

        public void AddProvider(ILoggerProvider provider) => loggers.AddProvider(provider);

        public void Dispose()
        {
            // The factory is the host's.
        }
    }
}
