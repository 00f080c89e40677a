using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Gateway.Admin.Tokens;

/// <summary>An operator's token, of which only the SHA-256 is kept: it is 256-bit random, so nothing slower is needed.</summary>
/// <param name="Hash">64 lower-case hex digits.</param>
/// <param name="Name">Whose it is, or what for; stands in the audit.</param>
/// <param name="Expires">From when on it opens nothing; null: never.</param>
internal sealed record OperatorToken(string Hash, string Name, Scope Scope, DateTimeOffset? Created, DateTimeOffset? Expires, string? CreatedBy)
{
    /// <summary>Tokens are recognised in leaked text by this prefix.</summary>
    private const string Prefix = "dgt_";

    private const int Bytes = 32;
    private const int IdLength = 16;

    /// <summary>Names the token without helping to guess it: the beginning of its hash.</summary>
    public string Id => Hash[..IdLength];

    public DateTimeOffset? LastUsed { get; init; }

    public bool IsValid(DateTimeOffset now) => Expires is not { } end || now < end;

    /// <summary>Makes the text of a new token. It is shown once, by the caller, and never kept.</summary>
    public static string NewText() => Prefix + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(Bytes));

    public static string HashOf(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
