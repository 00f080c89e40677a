using System.Diagnostics.CodeAnalysis;

namespace Gateway.Admin.Tokens;

/// <summary>What an operator's token may do; each includes those before it.</summary>
public enum Scope
{
    /// <summary>See devices, fingerprints of keys, status and the audit.</summary>
    Read,

    /// <summary>Also add, change and delete devices, issue and revoke their keys, switch public URLs.</summary>
    Operate,

    /// <summary>Also create and revoke operators' tokens.</summary>
    Admin,
}

internal static class Scopes
{
    public const string Names = "read, operate, admin";

    public static string Name(this Scope scope) => scope switch
    {
        Scope.Read => "read",
        Scope.Operate => "operate",
        _ => "admin",
    };

    public static bool TryParse(string? text, [NotNullWhen(true)] out Scope? scope)
    {
        scope = text switch
        {
            "read" => Scope.Read,
            "operate" => Scope.Operate,
            "admin" => Scope.Admin,
            _ => null,
        };
        return scope is not null;
    }
}
