using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using Gateway.Storage;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Shared;

/// <summary>
/// Encrypts what is secret in Redis (AES-256-GCM). The name of the place it stands at is authenticated with it, so that a
/// key cannot be moved to another certificate. Of several keys the first encrypts and all decrypt, so that they can be
/// changed while everything runs. With the embedded store and no key configured, one is made in its folder.
/// </summary>
internal sealed class KeyProtector(IOptions<CertificateOptions> options, IOptions<StorageOptions> storage)
{
    private const string Prefix = "v1.";
    private const int KeyBytes = 32;

    // Between two keys: lines of a file, or blanks or commas where it is one line. None is a character of base64.
    private static readonly char[] Separators = [' ', '\t', '\r', '\n', ','];

    private readonly Lazy<byte[][]> _keys = new(() => Load(options.Value, storage.Value));

    /// <summary>Makes a key, as text for the configuration.</summary>
    public static string NewKey() => Convert.ToBase64String(RandomNumberGenerator.GetBytes(KeyBytes));

    /// <summary>Whether a text is a key, or several.</summary>
    public static bool AreKeys(string text)
    {
        var keys = Split(text);
        return keys.Length > 0 && Array.TrueForAll(keys, IsKey);
    }

    /// <summary>Encrypts a text with the first key.</summary>
    /// <param name="text">The secret.</param>
    /// <param name="place">Where it will stand.</param>
    public string Protect(string text, string place)
    {
        var plain = Encoding.UTF8.GetBytes(text);
        var box = new byte[AesGcm.NonceByteSizes.MaxSize + AesGcm.TagByteSizes.MaxSize + plain.Length];
        var (nonce, tag, cipher) = Parts(box);
        RandomNumberGenerator.Fill(nonce.Span);
        using var aes = new AesGcm(_keys.Value[0], AesGcm.TagByteSizes.MaxSize);
        aes.Encrypt(nonce.Span, plain, cipher.Span, tag.Span, Encoding.UTF8.GetBytes(place));
        CryptographicOperations.ZeroMemory(plain);
        return Prefix + Base64Url.EncodeToString(box);
    }

    /// <summary>Decrypts what <see cref="Protect"/> made.</summary>
    /// <exception cref="CryptographicException">It was made with none of the keys, for another place, or is damaged.</exception>
    public string Unprotect(string text, string place) => Unprotect(text, place, out _);

    /// <inheritdoc cref="Unprotect(string, string)"/>
    /// <param name="text">What stands there.</param>
    /// <param name="place">Where it stands.</param>
    /// <param name="isNewest">Whether the first key has encrypted it.</param>
    public string Unprotect(string text, string place, out bool isNewest)
    {
        var overhead = AesGcm.NonceByteSizes.MaxSize + AesGcm.TagByteSizes.MaxSize;
        if (!text.StartsWith(Prefix, StringComparison.Ordinal) || !Base64Url.IsValid(text.AsSpan(Prefix.Length), out var length) || length < overhead)
        {
            throw new CryptographicException("it is not in the form in which the gateway writes keys");
        }

        var (nonce, tag, cipher) = Parts(Base64Url.DecodeFromChars(text.AsSpan(Prefix.Length)));
        var plain = new byte[cipher.Length];
        for (var i = 0; i < _keys.Value.Length; i++)
        {
            using var aes = new AesGcm(_keys.Value[i], AesGcm.TagByteSizes.MaxSize);
            try
            {
                aes.Decrypt(nonce.Span, cipher.Span, tag.Span, plain, Encoding.UTF8.GetBytes(place));
                isNewest = i == 0;
                return Encoding.UTF8.GetString(plain);
            }
            catch (AuthenticationTagMismatchException)
            {
                // Another key's, perhaps.
            }
        }

        throw new CryptographicException($"it is damaged, or was encrypted with another {CertificateOptions.Section}:EncryptionKey");
    }

    private static (Memory<byte> Nonce, Memory<byte> Tag, Memory<byte> Cipher) Parts(byte[] all)
    {
        var nonce = AesGcm.NonceByteSizes.MaxSize;
        var overhead = nonce + AesGcm.TagByteSizes.MaxSize;
        return (all.AsMemory(0, nonce), all.AsMemory(nonce, overhead - nonce), all.AsMemory(overhead));
    }

    private static string[] Split(string text) => text.Split(Separators, StringSplitOptions.RemoveEmptyEntries);

    private static bool IsKey(string text)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        return Convert.TryFromBase64String(text, key, out var length) && length == KeyBytes;
    }

    private static byte[][] Load(CertificateOptions options, StorageOptions storage)
    {
        var text = options.EncryptionKey.Length > 0 ? options.EncryptionKey
            : options.EncryptionKeyFile.Length > 0 ? File.ReadAllText(options.EncryptionKeyFile)
            : storage.Redis.Length == 0 ? LoadOrCreate(Path.Combine(Path.GetFullPath(storage.DataDirectory), "certificates.key"))
            : throw new CryptographicException($"{CertificateOptions.Section}:EncryptionKey is missing");
        return AreKeys(text) ? [.. Split(text).Select(Convert.FromBase64String)] : throw new CryptographicException($"{CertificateOptions.Section}:EncryptionKey is no base64 of {KeyBytes} bytes");
    }

    private static string LoadOrCreate(string path)
    {
        if (!File.Exists(path))
        {
            try
            {
                PrivateFile.CreateFolder(Path.GetDirectoryName(path)!);
                PrivateFile.Write(path, NewKey() + "\n");
            }
            catch (IOException) when (File.Exists(path))
            {
                // Another process of this gateway was faster.
            }
        }

        return File.ReadAllText(path);
    }
}
