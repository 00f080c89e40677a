using System.CommandLine;
using Gateway.Admin.Api;

namespace Gateway.Admin.CommandLine;

/// <summary><c>gateway device key ...</c></summary>
internal static class KeyCommands
{
    public static Command Create(VerbFactory verbs) => new("key", "A device's keys: issue, list, rotate, revoke.") { Issue(verbs), List(verbs), Rotate(verbs), Revoke(verbs) };

    private static Command Issue(VerbFactory verbs)
    {
        var uuid = Values.Device();
        var name = new Option<string?>("--name") { HelpName = "text", Description = "What people call the key" };
        var expires = Values.Duration("--expires", "How long it is good (default: for ever)");
        return verbs.Create(
            "issue",
            "Issues one more key and prints it; it is shown this once.\n\nExample: gateway device key issue 7cf02a6 --name factory --expires 90d",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                var body = new KeyCreation { Name = invocation.Result.GetValue(name), Expires = DateTimeOffset.UtcNow + invocation.Result.GetValue(expires) };
                return invocation.Print<IssuedKey>(await invocation.Api.SendAsync(HttpMethod.Post, $"api/v1/devices/{id}/keys", body, invocation.Cancellation), Print);
            },
            uuid, name, expires);
    }

    private static Command List(VerbFactory verbs)
    {
        var uuid = Values.Device();
        return verbs.Create(
            "list",
            "Lists a device's keys by their fingerprints.\n\nExample: gateway device key list 7cf02a6",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                return invocation.Print<KeyList>(await invocation.Api.SendAsync(HttpMethod.Get, $"api/v1/devices/{id}/keys", null, invocation.Cancellation), static list => Table.Print(
                    ["FINGERPRINT", "NAME", "CREATED", "EXPIRES"],
                    list.Keys.Select(static key => new[] { key.Fingerprint, key.Name ?? "-", Table.Time(key.Created), key.Expires is null ? "never" : Table.Time(key.Expires) })));
            },
            uuid);
    }

    private static Command Rotate(VerbFactory verbs)
    {
        var uuid = Values.Device();
        var name = new Option<string?>("--name") { HelpName = "text", Description = "What people call the new key" };
        var overlap = Values.Duration("--overlap", "How long the old keys stay good (default 24h; 0s ends them at once)");
        return verbs.Create(
            "rotate",
            "Issues a key that takes the place of the others, which stay good for a while, and prints it.\n\nExample: gateway device key rotate 7cf02a6 --overlap 7d",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                var body = new KeyRotation { Name = invocation.Result.GetValue(name), OverlapSeconds = (long?)invocation.Result.GetValue(overlap)?.TotalSeconds };
                return invocation.Print<IssuedKey>(await invocation.Api.SendAsync(HttpMethod.Post, $"api/v1/devices/{id}/keys/rotate", body, invocation.Cancellation), Print);
            },
            uuid, name, overlap);
    }

    private static Command Revoke(VerbFactory verbs)
    {
        var uuid = Values.Device();
        var fingerprint = new Argument<string>("fingerprint") { Description = "The key's fingerprint, from \"gateway device key list\"" };
        return verbs.Create(
            "revoke",
            "Revokes a key: the tunnels that it opened end at once.\n\nExample: gateway device key revoke 7cf02a6 0f3a9c1d22b4e5f6",
            async invocation =>
            {
                var id = await invocation.Api.ResolveAsync(invocation.Result.GetValue(uuid)!, invocation.Cancellation);
                var key = invocation.Result.GetValue(fingerprint)!;
                var answer = await invocation.Api.SendAsync(HttpMethod.Delete, $"api/v1/devices/{id}/keys/{Uri.EscapeDataString(key)}", null, invocation.Cancellation);
                return invocation.Print(answer, () => Console.WriteLine($"revoked: {key}"));
            },
            uuid, fingerprint);
    }

    private static void Print(IssuedKey issued) => Table.PrintFields(
        ("key", issued.Text), ("fingerprint", issued.Key.Fingerprint), ("expires", issued.Key.Expires is null ? "never" : Table.Time(issued.Key.Expires)));
}
