using System.Net.Sockets;

namespace Gateway.Listeners.Sockets;

internal static class SocketExtensions
{
    /// <summary>
    /// Closes the socket when the token is cancelled, until the registration is disposed of, and with it whatever waits for the socket. An
    /// operation that is given the token itself leaves it to the socket, which keeps the last one, and its source, for as long as it lives.
    /// </summary>
    public static CancellationTokenRegistration CloseAt(this Socket socket, CancellationToken token) =>
        token.UnsafeRegister(static socket => ((Socket)socket!).Dispose(), socket);
}
