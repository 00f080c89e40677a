using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Gateway.Certificates.Acme;
using Gateway.Tests.Harness;

namespace Gateway.Tests.Fuzzing;

/// <summary>Whatever an ACME server answers, or who poses as one: it is read, or refused as what it is.</summary>
[Collection(nameof(Alone))]
public sealed class AcmeTests
{
    private static readonly Uri Directory = new("https://a.example/directory");

    [Fact]
    public void An_answer_of_an_ACME_server_is_read_or_refused()
    {
        using var certificate = Certificate();
        using var key = AccountKey.New();
        Fuzzer.Run("acme", bytes =>
        {
            using var server = new Server(bytes);
            using var http = new HttpClient(server);
            var client = new AcmeClient(http, Directory, key, TimeProvider.System);
            client.UseAccount("https://a.example/account/1");
            try
            {
                Ask(client, server.Question, certificate).GetAwaiter().GetResult();
            }
            catch (AcmeException exception)
            {
                Assert.NotEmpty(exception.Message);
                Assert.True(exception.RetryAfter is null || exception.RetryAfter < TimeSpan.FromDays(30));
            }
        });
    }

    private static async Task Ask(AcmeClient client, char question, X509Certificate2 certificate)
    {
        switch (question)
        {
            case 'd':
                Assert.True((await client.GetDirectoryAsync(default)).NewOrder.IsAbsoluteUri);
                break;
            case 'o':
                var (url, order) = await client.NewOrderAsync(["a.resindevice.io"], "", null, default);
                Assert.True(url.IsAbsoluteUri && order.Authorizations.All(static one => one.IsAbsoluteUri) && order.Certificate is null or { IsAbsoluteUri: true });
                break;
            case 'a':
                var authorization = await client.GetAuthorizationAsync(new Uri(Directory, "/a"), default);
                Assert.NotNull(authorization.Identifier.Value);
                Assert.All(authorization.Challenges, static one => Assert.True(one.Url.IsAbsoluteUri && one.Token is not null && one.Error?.ToString() is not ""));
                if (authorization.Status != "pending")
                {
                    await client.AwaitAuthorizationAsync(new Uri(Directory, "/a"), default);
                }

                break;
            case 'r':
                var (window, _) = (await client.GetRenewalInfoAsync(certificate, default))!.Value;
                Assert.True(window.End > window.Start);
                break;
            default:
                await client.BeginChallengeAsync(new Uri(Directory, "/c"), default);
                break;
        }
    }

    // With what renewals are asked for by.
    private static X509Certificate2 Certificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=a", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromSubjectKeyIdentifier(new byte[20]));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddDays(1));
    }

    /// <summary>A server whose answer is the input; only what leads to the question is in order.</summary>
    private sealed class Server : HttpMessageHandler
    {
        private readonly byte[] _content;
        private readonly string[] _head;

        public Server(byte[] input)
        {
            var text = Encoding.Latin1.GetString(input);
            var end = text.IndexOf("\n\n", StringComparison.Ordinal);
            Question = text.Length > 0 && "doare".Contains(text[0], StringComparison.Ordinal) ? text[0] : "doare"[text.Length % 5];
            _head = end < 0 ? [] : text[..end].Split('\n')[1..];
            _content = end < 0 ? input : input[(end + 2)..];
        }

        public char Question { get; }

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            var answer = new HttpResponseMessage(Question == 'e' ? HttpStatusCode.BadRequest : HttpStatusCode.OK) { RequestMessage = request };
            if (request.RequestUri == Directory && Question != 'd')
            {
                answer.StatusCode = HttpStatusCode.OK;
                answer.Content = new StringContent(
                    """{"newNonce":"https://a.example/n","newAccount":"https://a.example/a","newOrder":"https://a.example/o","revokeCert":"https://a.example/r","renewalInfo":"https://a.example/i"}""");
            }
            else if (request.Method == HttpMethod.Head)
            {
                answer.StatusCode = HttpStatusCode.OK;
                answer.Headers.Add("Replay-Nonce", "6S8IqOGY7eL2lsGoTZYifg");
            }
            else
            {
                answer.Content = new ByteArrayContent(_content);
                foreach (var line in _head)
                {
                    if (line.Split(": ", 2) is [var name, var value] && !answer.Headers.TryAddWithoutValidation(name, value))
                    {
                        answer.Content.Headers.TryAddWithoutValidation(name, value);
                    }
                }
            }

            return Task.FromResult(answer);
        }
    }
}
