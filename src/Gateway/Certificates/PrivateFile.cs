namespace Gateway.Certificates;

/// <summary>Files that only the gateway's user may read.</summary>
internal static class PrivateFile
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static void CreateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, OwnerOnly | UnixFileMode.UserExecute);
        }
    }

    /// <summary>Writes a new file whole, or not at all.</summary>
    /// <exception cref="IOException">It exists already, or cannot be written.</exception>
    public static void Write(string path, string text)
    {
        var half = $"{path}.{Environment.ProcessId}.{Guid.NewGuid():N}";
        var how = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            how.UnixCreateMode = OwnerOnly;
        }

        try
        {
            using (var writer = new StreamWriter(half, how))
            {
                writer.Write(text);
            }

            File.Move(half, path, overwrite: false);
        }
        finally
        {
            File.Delete(half);
        }
    }
}
