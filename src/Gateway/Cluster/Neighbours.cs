using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Gateway.Devices;
using StackExchange.Redis;
using Tunnel.Protocol;

namespace Gateway.Cluster;

/// <summary>
/// Asks the other nodes about a device while Redis is away: the node that holds its tunnel, and those that its visitors came to, know it.
/// </summary>
internal sealed class Neighbours(NodeClients clients, Nodes nodes, TimeProvider time) : INeighbours
{
    /// <summary>The most questions at once: a flood of unknown names must not become a flood between nodes.</summary>
    private const int MaxQuestions = 64;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    private int _questions;

    public async Task<Hearsay?> AskAsync(DeviceUuid uuid)
    {
        var others = nodes.Live.Where(node => node.Id != nodes.Id && node.Address is not null && !nodes.IsUnreachable(node)).ToList();
        if (others.Count == 0)
        {
            return null;
        }

        try
        {
            if (Interlocked.Increment(ref _questions) > MaxQuestions)
            {
                return null;
            }

            using var enough = new CancellationTokenSource(Patience, time);
            await foreach (var answered in Task.WhenEach(others.Select(node => AskAsync(node, uuid, enough.Token))))
            {
                if (await answered is { } heard)
                {
                    await enough.CancelAsync();
                    return heard;
                }
            }

            return null;
        }
        finally
        {
            Interlocked.Decrement(ref _questions);
        }
    }

    /// <summary>What a node answers to another one.</summary>
    public static object Write(Hearsay heard) => new Word(
        DeviceFields.Write(heard.Record), heard.Routes.ToDictionary(static route => route.ConnectionId.ToString(), static route => route.ToJson(), StringComparer.Ordinal), heard.Age);

    private async Task<Hearsay?> AskAsync(NodeRecord node, DeviceUuid uuid, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, NodeClients.DestinationPrefix)
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Headers = { { HopProtocol.QuestionHeader, uuid.ToString() } },
        };
        try
        {
            using var response = await clients.For(node).SendAsync(request, cancellationToken);
            return response.StatusCode == HttpStatusCode.OK && await response.Content.ReadFromJsonAsync<Word>(cancellationToken) is { } word ? Read(uuid, word) : null;
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException or JsonException)
        {
            return null;
        }
    }

    private static Hearsay? Read(DeviceUuid uuid, Word word) =>
        DeviceFields.Read(uuid, [.. word.Fields.Select(static field => new HashEntry(field.Key, field.Value))]) is { } record
            ? new Hearsay(record, [.. word.Routes.Select(static route => DeviceRoute.Parse(route.Key, route.Value)).OfType<DeviceRoute>()], word.Age)
            : null;

    /// <summary>The record as in Redis (docs/redis.md), and how old it is.</summary>
    private sealed record Word(Dictionary<string, string> Fields, Dictionary<string, string> Routes, TimeSpan Age);
}
