namespace Tunnel.Forwarding;

/// <summary>Is told when a part of an exchange waits in memory because whoever it is for does not take it, and when it has been taken.</summary>
public interface IBacklog
{
    /// <summary>A part of the response waits for the client.</summary>
    void ResponseWaits();

    /// <summary>The client has taken it.</summary>
    void ResponseTaken();

    /// <summary>A part of the request waits for the server.</summary>
    void RequestWaits();

    /// <summary>The server has taken it.</summary>
    void RequestTaken();
}
