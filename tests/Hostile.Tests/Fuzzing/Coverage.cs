using System.Numerics;
using System.Runtime.InteropServices;
using SharpFuzz.Common;

namespace Gateway.Tests.Fuzzing;

/// <summary>
/// What instrumented code passes: a counter for each edge from one block to the next, as AFL has them. An edge passed another order of
/// magnitude of times is a new one, too: that is how lengths and depths are found.
/// </summary>
internal sealed unsafe class Coverage
{
    private const int Size = 1 << 16;

    private readonly byte* _passed = (byte*)NativeMemory.AllocZeroed(Size);
    private readonly byte[] _seen = new byte[Size];

    /// <summary>From now on instrumented code of this process counts here; one piece of it at a time.</summary>
    public Coverage() => Trace.SharedMem = _passed;

    /// <summary>How many edges were passed so far.</summary>
    public int Edges => _seen.AsSpan().Length - _seen.AsSpan().Count((byte)0);

    /// <summary>Before each input.</summary>
    public void Clear()
    {
        new Span<byte>(_passed, Size).Clear();
        Trace.PrevLocation = 0;
    }

    /// <summary>After each input: whether it has passed anything new.</summary>
    public bool TakeNew()
    {
        var isNew = false;
        var words = new ReadOnlySpan<ulong>(_passed, Size / sizeof(ulong));
        for (var word = words.IndexOfAnyExcept(0UL); word >= 0;)
        {
            for (var i = word * sizeof(ulong); i < (word + 1) * sizeof(ulong); i++)
            {
                var magnitude = _passed[i] == 0 ? 0 : 1 << BitOperations.Log2(_passed[i]);
                isNew |= (magnitude & ~_seen[i]) != 0;
                _seen[i] |= (byte)magnitude;
            }

            var next = words[(word + 1)..].IndexOfAnyExcept(0UL);
            word = next < 0 ? -1 : word + 1 + next;
        }

        return isNew;
    }
}
