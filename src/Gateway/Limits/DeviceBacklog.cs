namespace Gateway.Limits;

/// <summary>
/// What waits in this node's memory in one device's exchanges: parts of responses that their visitors do not read, and of requests that
/// the device does not. Each counts with the most that the windows and buffers on its way can hold. When that is more than the device may
/// have, the part that has waited longest is given up, and its exchange with it: who reads, however slowly, has waited less long than who
/// does not, and who comes new is not kept out by those who hold on.
/// </summary>
internal sealed class DeviceBacklog
{
    private readonly Lock _lock = new();
    private readonly LinkedList<WaitingPart> _waiting = [];
    private long _bytes;

    /// <summary>The part waits from now on.</summary>
    public void Add(WaitingPart part)
    {
        lock (_lock)
        {
            _waiting.AddLast(part.Place);
            _bytes += part.Bytes;
        }
    }

    /// <summary>The part waits no more; false when it did not.</summary>
    public bool Remove(WaitingPart part)
    {
        lock (_lock)
        {
            if (part.Place.List is null)
            {
                return false;
            }

            _waiting.Remove(part.Place);
            _bytes -= part.Bytes;
            return true;
        }
    }

    /// <summary>Takes out the part that has waited longest, when all of them are more than <paramref name="limit"/> bytes; 0 for no limit. The only one there is may stay.</summary>
    public WaitingPart? TakeSurplus(long limit)
    {
        lock (_lock)
        {
            if (limit == 0 || _bytes <= limit || _waiting.Count <= 1)
            {
                return null;
            }

            var longest = _waiting.First!.Value;
            _waiting.RemoveFirst();
            _bytes -= longest.Bytes;
            return longest;
        }
    }
}

/// <summary>A part of an exchange that may have to wait.</summary>
/// <param name="bytes">The most that it holds.</param>
/// <param name="giveUp">Ends the exchange; must not do it on the caller's time.</param>
internal sealed class WaitingPart(long bytes, Action giveUp)
{
    private LinkedListNode<WaitingPart>? _place;

    public long Bytes => bytes;

    public Action GiveUp => giveUp;

    /// <summary>Its place among those that wait.</summary>
    public LinkedListNode<WaitingPart> Place => _place ??= new LinkedListNode<WaitingPart>(this);
}
