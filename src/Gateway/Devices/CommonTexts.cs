using System.Collections.Concurrent;

namespace Gateway.Devices;

/// <summary>One copy of texts that thousands of devices have in common, such as the name of their agent.</summary>
internal static class CommonTexts
{
    /// <summary>Devices choose some of them, and may choose a different one each: beyond so many no more are kept.</summary>
    private const int Capacity = 1000;

    private static readonly ConcurrentDictionary<string, string> Texts = new(StringComparer.Ordinal);
    private static int _count;

    /// <summary>The same text, in the copy that others have, if there is one.</summary>
    public static string Share(string text)
    {
        if (Texts.TryGetValue(text, out var shared))
        {
            return shared;
        }

        if (Volatile.Read(ref _count) < Capacity && Texts.TryAdd(text, text))
        {
            Interlocked.Increment(ref _count);
        }

        return text;
    }
}
