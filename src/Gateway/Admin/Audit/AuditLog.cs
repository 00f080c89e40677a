using System.Text.Json;
using System.Text.Json.Nodes;
using Gateway.Storage;
using Microsoft.Extensions.Options;
using StackExchange.Redis;

namespace Gateway.Admin.Audit;

/// <summary>Who changed what, when, from where: the list <c>audit</c> in Redis, the newest first, and a line in the log. No secret is in it.</summary>
internal sealed partial class AuditLog(RedisConnection redis, IOptions<AdminOptions> options, TimeProvider time, ILogger<AuditLog> logger)
{
    private const int ChunkSize = 500;

    private static readonly RedisKey Key = "audit";
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web) { DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Writes an entry, after what it tells of has been done.</summary>
    public async Task WriteAsync(Actor actor, string action, string? subject, object? before, object? after)
    {
        var entry = new AuditEntry(
            Guid.CreateVersion7(time.GetUtcNow()).ToString("N"), time.GetUtcNow(), actor, action, subject,
            before is null ? null : JsonSerializer.SerializeToNode(before, Json), after is null ? null : JsonSerializer.SerializeToNode(after, Json));
        LogEntry(logger, action, subject ?? "-", actor.Name, actor.Id, actor.From);
        try
        {
            await redis.Database.ListLeftPushAsync(Key, JsonSerializer.Serialize(entry, Json));
            await redis.Database.ListTrimAsync(Key, 0, options.Value.AuditEntries - 1, CommandFlags.FireAndForget);
        }
        catch (Exception exception) when (exception is RedisException || RedisConnection.IsUnavailable(exception))
        {
            // What was done is done; its caller is told so, and the log keeps the entry.
            LogUnwritten(logger, JsonSerializer.Serialize(entry, Json), exception.Message);
        }
    }

    /// <summary>The entries that match, the newest first.</summary>
    /// <param name="after">The id of the entry to begin after: the last of the page before.</param>
    public async Task<IReadOnlyList<AuditEntry>> ListAsync(Func<AuditEntry, bool> matches, int limit, string? after)
    {
        var found = new List<AuditEntry>();
        var skipping = after is not null;
        for (var start = 0; ; start += ChunkSize)
        {
            var chunk = await redis.Database.ListRangeAsync(Key, start, start + ChunkSize - 1);
            foreach (var item in chunk)
            {
                // What was pushed since the page before has moved the others on, so its last entry is looked for by its id.
                var entry = JsonSerializer.Deserialize<AuditEntry>((string)item!, Json)!;
                if (skipping)
                {
                    skipping = entry.Id != after;
                }
                else if (matches(entry))
                {
                    found.Add(entry);
                    if (found.Count == limit)
                    {
                        return found;
                    }
                }
            }

            if (chunk.Length < ChunkSize)
            {
                return found;
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Audit: {Action} {Subject} by {Name} ({Id}) from {From}")]
    private static partial void LogEntry(ILogger logger, string action, string subject, string name, string id, string from);

    [LoggerMessage(Level = LogLevel.Error, Message = "An audit entry could not be written to Redis: {Entry}: {Reason}")]
    private static partial void LogUnwritten(ILogger logger, string entry, string reason);
}

/// <param name="Id">Unique.</param>
/// <param name="Action"><c>device.create</c>, <c>device.update</c>, <c>device.delete</c>, <c>key.issue</c>, <c>key.rotate</c>, <c>key.revoke</c>,
/// <c>public-url.bulk</c>, <c>domain.add</c>, <c>domain.remove</c>, <c>token.create</c> or <c>token.revoke</c>.</param>
/// <param name="Subject">The device's uuid, or the token's id.</param>
/// <param name="Before">What was different before; keys and tokens by their fingerprints.</param>
public sealed record AuditEntry(string Id, DateTimeOffset At, Actor Actor, string Action, string? Subject, JsonNode? Before, JsonNode? After);
