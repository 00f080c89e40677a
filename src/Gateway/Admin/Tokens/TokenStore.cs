using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Admin.Tokens;

/// <summary>Operators' tokens in Redis: the hash <c>tokens</c>, from a token's SHA-256 to what is known of it.</summary>
internal sealed class TokenStore(RedisConnection redis, IOptions<AdminOptions> options, TimeProvider time)
{
    private static readonly RedisKey Key = "tokens";
    private static readonly RedisKey LastUsedKey = "tokens:last_used";
    private static readonly TimeSpan LastUsedPrecision = TimeSpan.FromMinutes(1);

    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull };

    private readonly OperatorToken? _configured = options.Value.InitialToken is { Length: > 0 } text
        ? new OperatorToken(OperatorToken.HashOf(text), options.Value.InitialTokenName, Scope.Admin, null, null, null) : null;

    private readonly ConcurrentDictionary<string, DateTimeOffset> _used = new(StringComparer.Ordinal);

    /// <summary>The token whose text this is; null when there is none, or it has expired.</summary>
    public Task<OperatorToken?> FindAsync(string text) => FindByHashAsync(OperatorToken.HashOf(text));

    /// <summary>The token with this hash; null when there is none, or it has expired.</summary>
    public async Task<OperatorToken?> FindByHashAsync(string hash)
    {
        // Hashes of 256-bit secrets may be compared as they come: their order tells nothing of the secrets.
        var token = hash == _configured?.Hash ? _configured : Read(hash, await redis.Database.HashGetAsync(Key, hash));
        return token?.IsValid(time.GetUtcNow()) == true ? token : null;
    }

    /// <summary>Notes that a token was used, at most once a minute.</summary>
    public void Touch(OperatorToken token)
    {
        var now = time.GetUtcNow();
        if (!(IsConfigured(token) && options.Value.InitialTokenIsPassing) && now - _used.GetValueOrDefault(token.Hash) > LastUsedPrecision)
        {
            _used[token.Hash] = now;
            redis.Database.HashSet(LastUsedKey, token.Hash, now.ToString("O", CultureInfo.InvariantCulture), flags: CommandFlags.FireAndForget);
        }
    }

    /// <summary>All tokens, expired ones too, the oldest first.</summary>
    public async Task<IReadOnlyList<OperatorToken>> ListAsync()
    {
        var tokens = await redis.Database.HashGetAllAsync(Key);
        var used = (await redis.Database.HashGetAllAsync(LastUsedKey)).ToDictionary(static entry => (string)entry.Name!, static entry => (string?)entry.Value, StringComparer.Ordinal);
        return [.. tokens.Select(static entry => Read(entry.Name!, entry.Value)).Prepend(options.Value.InitialTokenIsPassing ? null : _configured).OfType<OperatorToken>()
            .Select(token => token with { LastUsed = DateTimeOffset.TryParse(used.GetValueOrDefault(token.Hash), CultureInfo.InvariantCulture, out var at) ? at : null })
            .OrderBy(static token => token.Created)];
    }

    /// <summary>Makes a token; its text is in no other place.</summary>
    public async Task<(OperatorToken Token, string Text)> CreateAsync(string name, Scope scope, DateTimeOffset? expires, string createdBy)
    {
        var text = OperatorToken.NewText();
        var token = new OperatorToken(OperatorToken.HashOf(text), name, scope, time.GetUtcNow(), expires, createdBy);
        await redis.Database.HashSetAsync(Key, token.Hash, JsonSerializer.Serialize(new Value(token.Name, token.Scope.Name(), token.Created, token.Expires, token.CreatedBy), Json));
        return (token, text);
    }

    /// <summary>Revokes a token, and every session that was opened with it.</summary>
    /// <returns>False when there was none.</returns>
    public async Task<bool> RevokeAsync(OperatorToken token)
    {
        await redis.Database.HashDeleteAsync(LastUsedKey, token.Hash);
        return await redis.Database.HashDeleteAsync(Key, token.Hash);
    }

    /// <summary>Whether the token stands in the configuration, where alone it can be taken back.</summary>
    public bool IsConfigured(OperatorToken token) => token.Hash == _configured?.Hash;

    private static OperatorToken? Read(string hash, RedisValue json)
    {
        if (json.IsNull || JsonSerializer.Deserialize<Value>((string)json!, Json) is not { } value || !Scopes.TryParse(value.Scope, out var scope))
        {
            return null;
        }

        return new OperatorToken(hash, value.Name, scope.Value, value.Created, value.Expires, value.CreatedBy);
    }

    private sealed record Value(string Name, string Scope, DateTimeOffset? Created, DateTimeOffset? Expires, string? CreatedBy);
}
