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
        using var server = new Server();
        using var http = new HttpClient(server);
        var inputs = 0;
        Fuzzer.Run("acme", bytes =>
        {
            try
            {
                // Requests and their signatures take longer than all else: most answers are read as they come, and one in fifty is
                // asked for.
                var input = new Input(bytes);
                if (inputs++ % 50 == 0)
                {
                    server.Input = input;
                    AskAsync(new AcmeClient(http, Directory, key, TimeProvider.System), input.Question, certificate).GetAwaiter().GetResult();
                }
                else
                {
                    using var answer = new AcmeAnswer(Directory, input.Answer());
                    Read(answer, input.Question);
                }
            }
            catch (AcmeException exception)
            {
                Assert.NotEmpty(exception.Message);
                Assert.True(exception.RetryAfter is null || exception.RetryAfter < TimeSpan.FromDays(30));
            }
        });
    }

    private static void Read(AcmeAnswer answer, char question)
    {
        Assert.Equal(question == 'e', answer.Refusal(DateTimeOffset.UtcNow) is { Message: not "" } refusal && (refusal.RetryAfter is null || refusal.RetryAfter < TimeSpan.FromDays(30)));
        switch (question)
        {
            case 'd':
                Check(answer.Read<AcmeDirectory>());
                break;
            case 'o':
                Check(answer.Location(), answer.Read<AcmeOrder>());
                break;
            case 'a':
                Check(answer.Read<AcmeAuthorization>());
                break;
            case 'r':
                Check(answer.Window());
                break;
            default:
                break;
        }

        Assert.True(answer.RetryAfter(DateTimeOffset.UtcNow) is not { } wait || (wait >= TimeSpan.Zero && wait < TimeSpan.FromDays(30)));
    }

    private static async Task AskAsync(AcmeClient client, char question, X509Certificate2 certificate)
    {
        client.UseAccount("https://a.example/account/1");
        switch (question)
        {
            case 'd':
                Check(await client.GetDirectoryAsync(default));
                break;
            case 'o':
                var (url, order) = await client.NewOrderAsync(["a.resindevice.io"], "", null, default);
                Check(url, order);
                break;
            case 'a':
                var authorization = await client.GetAuthorizationAsync(new Uri(Directory, "/a"), default);
                Check(authorization);
                if (authorization.Status != "pending")
                {
                    await client.AwaitAuthorizationAsync(new Uri(Directory, "/a"), default);
                }

                break;
            case 'r':
                Check((await client.GetRenewalInfoAsync(certificate, default))!.Value.Window);
                break;
            default:
                await client.BeginChallengeAsync(new Uri(Directory, "/c"), default);
                break;
        }
    }

    private static void Check(AcmeDirectory directory) => Assert.True(directory.NewOrder.IsAbsoluteUri);

    private static void Check(Uri url, AcmeOrder order) =>
        Assert.True(url.IsAbsoluteUri && order.Authorizations.All(static one => one.IsAbsoluteUri) && order.Certificate is null or { IsAbsoluteUri: true });

    private static void Check(AcmeAuthorization authorization)
    {
        Assert.NotNull(authorization.Identifier.Value);
        Assert.All(authorization.Challenges, static one => Assert.True(one.Url.IsAbsoluteUri && one.Token is not null && one.Error?.ToString() is not ""));
    }

    private static void Check(AcmeWindow window) => Assert.True(window.End > window.Start);

    // With what renewals are asked for by.
    private static X509Certificate2 Certificate()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=a", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromSubjectKeyIdentifier(new byte[20]));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow, DateTimeOffset.UtcNow.AddDays(1));
    }

    /// <summary>An answer, and what it answers.</summary>
    private sealed class Input
    {
        private readonly byte[] _content;
        private readonly string[] _head;

        public Input(byte[] input)
        {
            var text = Encoding.Latin1.GetString(input);
            var end = text.IndexOf("\n\n", StringComparison.Ordinal);
            Question = text.Length > 0 && "doare".Contains(text[0], StringComparison.Ordinal) ? text[0] : "doare"[text.Length % 5];
            _head = end < 0 ? [] : text[..end].Split('\n')[1..];
            _content = end < 0 ? input : input[(end + 2)..];
        }

        public char Question { get; }

        public HttpResponseMessage Answer()
        {
            var answer = new HttpResponseMessage(Question == 'e' ? HttpStatusCode.BadRequest : HttpStatusCode.OK) { Content = new ByteArrayContent(_content) };
            foreach (var line in _head)
            {
                if (line.Split(": ", 2) is [var name, var value] && !answer.Headers.TryAddWithoutValidation(name, value))
                {
                    answer.Content.Headers.TryAddWithoutValidation(name, value);
                }
            }

            return answer;
        }
    }

    /// <summary>A server whose answer is the input; only what leads to the question is in order.</summary>
    private sealed class Server : HttpMessageHandler
    {
        public Input? Input { get; set; }

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            HttpResponseMessage answer;
            if (request.RequestUri == Directory && Input!.Question != 'd')
            {
                answer = new HttpResponseMessage(HttpStatusCode.OK)
                {
                    Content = new StringContent(
                        """{"newNonce":"https://a.example/n","newAccount":"https://a.example/a","newOrder":"https://a.example/o","revokeCert":"https://a.example/r","renewalInfo":"https://a.example/i"}"""),
                };
            }
            else if (request.Method == HttpMethod.Head)
            {
                answer = new HttpResponseMessage(HttpStatusCode.OK) { Headers = { { "Replay-Nonce", "6S8IqOGY7eL2lsGoTZYifg" } } };
            }
            else
            {
                answer = Input!.Answer();
            }

            answer.RequestMessage = request;
            return Task.FromResult(answer);
        }
    }
}
