using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;

namespace Gateway.Listeners;

/// <summary>
/// A connection of the server that does not come from the platform's transport. The platform's own base cancels its token by a work item
/// that may come after the token's source was disposed of: an exception that nobody can catch, and the end of the process.
/// </summary>
internal class ServerConnection : DefaultConnectionContext
{
    // Nothing of it is to be disposed of, so it can be cancelled at any time.
    private readonly CancellationTokenSource _closed = new();

    public ServerConnection()
    {
    }

    public ServerConnection(string id, IDuplexPipe transport, IDuplexPipe application)
        : base(id, transport, application)
    {
    }

    public override CancellationToken ConnectionClosed
    {
        get => _closed.Token;
        set
        {
            // The base sets its own.
        }
    }

    public override void Abort(ConnectionAbortedException abortReason) =>
        ThreadPool.UnsafeQueueUserWorkItem(static closed => closed.Cancel(), _closed, preferLocal: false);
}
