using Microsoft.Extensions.ObjectPool;

namespace Gateway.Edge;

/// <summary>
/// How long an application may take to begin its answer, counted from the request's last byte. Once the head is here
/// there is no limit: an event stream or a WebSocket may be silent for as long as both ends are there.
/// </summary>
internal sealed class ResponseDeadline : IDisposable
{
    // A source and its timer serve one request after the other.
    private static readonly ObjectPool<CancellationTokenSource> Sources = new DefaultObjectPoolProvider { MaximumRetained = 256 }.Create(new Spare());

    private readonly CancellationTokenSource _source;
    private readonly CancellationToken _outer;
    private readonly CancellationTokenRegistration _link;
    private readonly TimeSpan _timeout;
    private readonly Lock _lock = new();
    private CancellationTokenRegistration _givenUpLink;
    private CancellationToken _givenUp;
    private bool _isOver;
    private volatile bool _met;
    private long _extendedAt;

    public ResponseDeadline(TimeSpan timeout, CancellationToken outer)
    {
        _timeout = timeout;
        _outer = outer;
        _source = Sources.Get();
        _link = outer.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _source);
        _source.CancelAfter(timeout);
    }

    /// <summary>Is cancelled when the time is up, or from outside.</summary>
    public CancellationToken Token => _source.Token;

    /// <summary>Whether it was the time that ran out.</summary>
    public bool HasPassed => _source.IsCancellationRequested && !_outer.IsCancellationRequested && !_givenUp.IsCancellationRequested && !_met;

    /// <summary>A part of the request's body has arrived: the application could not answer before.</summary>
    public void Extend()
    {
        // A timer is moved once in a while and not for every read.
        var now = Environment.TickCount64;
        if (!_met && now - _extendedAt > _timeout.TotalMilliseconds / 8)
        {
            _extendedAt = now;
            _source.CancelAfter(_timeout);
        }
    }

    /// <summary>Ends the exchange with <paramref name="givenUp"/>, too; does nothing when it is over.</summary>
    public void EndWith(CancellationToken givenUp)
    {
        lock (_lock)
        {
            if (!_isOver)
            {
                _givenUp = givenUp;
                _givenUpLink = givenUp.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), _source);
            }
        }
    }

    /// <summary>The head of the answer is here.</summary>
    public void Meet()
    {
        _met = true;
        _source.CancelAfter(Timeout.Infinite);
    }

    /// <summary>To be called when nobody can call <see cref="Extend"/> any more: the source goes to another request.</summary>
    public void Dispose()
    {
        _met = true; // even so, a late one does nothing
        lock (_lock)
        {
            _isOver = true;
        }

        _link.Dispose();
        _givenUpLink.Dispose();
        Sources.Return(_source);
    }

    private sealed class Spare : IPooledObjectPolicy<CancellationTokenSource>
    {
        public CancellationTokenSource Create() => new();

        public bool Return(CancellationTokenSource source) => source.TryReset();
    }
}
