using Microsoft.Extensions.Options;

namespace Gateway.Limits;

/// <summary>The memory that the process has, and may have.</summary>
internal class MemoryUse(IOptions<LimitOptions> options)
{
    /// <summary>Bytes that are resident.</summary>
    public virtual long Used => Environment.WorkingSet;

    /// <summary>Bytes that may be: the setting, the runtime's own limit (DOTNET_GCHeapHardLimit, 75 % of a container's), or the machine's.</summary>
    public virtual long Available { get; } = options.Value.Node.MemoryMib is > 0 and var mib ? mib * 1024L * 1024 : GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Bytes of objects that have been allocated since the process began.</summary>
    public virtual long Allocated => GC.GetTotalAllocatedBytes();

    /// <summary>Bytes of objects that the last collection found in use, and of those since.</summary>
    public virtual long Live => GC.GetTotalMemory(forceFullCollection: false);

    /// <summary>Gives back what is garbage, and what the C library has free. The process stands still meanwhile.</summary>
    public virtual void Reclaim()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        NativeArenas.GiveBack();
    }
}
