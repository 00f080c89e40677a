using Gateway.Cluster;
using Tunnel.Forwarding;

namespace Gateway.Edge;

/// <summary>What the gateway's exchanges have in common: the answer may be a failure with a name.</summary>
internal abstract class EdgeTransformer : TransparentTransformer
{
    protected const string ProxyStatus = "Proxy-Status";

    /// <summary>Set when the answer is none of the application.</summary>
    public Failure? Failure { get; protected set; }

    /// <summary>When the head of an answer to a visitor arrived, the agent's own included (<see cref="System.Diagnostics.Stopwatch"/>); null before.</summary>
    public long? AnsweredAt { get; protected set; }
}

/// <summary>
/// What the second node of a hop changes: nothing but the hop's own fields. The first node has made the visitor known, and
/// it reads what the agent says for itself.
/// </summary>
/// <param name="backlog">Watches the exchange on this node.</param>
internal sealed class HopTransformer(Backlogs.ExchangeBacklog backlog) : EdgeTransformer
{
    public override async ValueTask TransformRequestAsync(
        HttpContext httpContext, HttpRequestMessage proxyRequest, string destinationPrefix, CancellationToken cancellationToken)
    {
        await base.TransformRequestAsync(httpContext, proxyRequest, destinationPrefix, cancellationToken);
        proxyRequest.Headers.Remove(HopProtocol.DeviceHeader);
        proxyRequest.Headers.Remove(HopProtocol.HostHeader);
        VisitorFields.TryPassSpan(proxyRequest);
    }

    public override async ValueTask<bool> TransformResponseAsync(
        HttpContext httpContext, HttpResponseMessage? proxyResponse, CancellationToken cancellationToken)
    {
        // What comes now is the answer to an exchange that this node has cut off; the first node does not know that.
        if (proxyResponse is not null && backlog.IsGivenUp)
        {
            Failure = Failure.DeviceBusy;
            return false;
        }

        if (!await base.TransformResponseAsync(httpContext, proxyResponse, cancellationToken))
        {
            return false;
        }

        // A device cannot speak for a node.
        if (httpContext.Response.Headers[ProxyStatus].ToString().StartsWith(HopProtocol.ProxyName, StringComparison.Ordinal))
        {
            httpContext.Response.Headers.Remove(ProxyStatus);
        }

        return true;
    }
}
