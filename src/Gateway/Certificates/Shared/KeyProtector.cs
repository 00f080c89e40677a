using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using Gateway.Storage;
using Microsoft.Extensions.Options;

namespace Gateway.Certificates.Shared;

/// <summary>
/// Encrypts what is secret in Redis (AES-256-GCM). The name of the place it stands at is authenticated with it, so that a
/// key cannot be moved to another certificate. With the embedded store and no key configured, one is made in its folder.
/// </summary>
internal sealed class KeyProtector(IOptions<CertificateOptions> options, IOptions<StorageOptions> storage)
{
    private const string Prefix = "v1.";
    private const int KeyBytes = 32;

    private readonly Lazy<byte[]> _key = new(() => Load(options.Value, storage.Value));

    /// <summary>Makes a key, as text for the configuration.</summary>
    public static string NewKey() => Convert.ToBase64String(RandomNumberGenerator.GetBytes(KeyBytes));

    /// <summary>Whether a text is a key.</summary>
    public static bool IsKey(string text)
    {
        Span<byte> key = stackalloc byte[KeyBytes];
        return Convert.TryFromBase64String(text.Trim(), key, out var length) && length == KeyBytes;
    }

    /// <summary>Encrypts a text.</summary>
    /// <param name="text">The secret.</param>
    /// <param name="place">Where it will stand.</param>
    public string Protect(string text, string place)
    {
        var plain = Encoding.UTF8.GetBytes(text);
        var box = new byte[AesGcm.NonceByteSizes.MaxSize + AesGcm.TagByteSizes.MaxSize + plain.Length];
        var (nonce, tag, cipher) = Parts(box);
        RandomNumberGenerator.Fill(nonce.Span);
        using var aes = new AesGcm(_key.Value, AesGcm.TagByteSizes.MaxSize);
        aes.Encrypt(nonce.Span, plain, cipher.Span, tag.Span, Encoding.UTF8.GetBytes(place));
        CryptographicOperations.ZeroMemory(plain);
        return Prefix + Base64Url.EncodeToString(box);
    }

    /// <summary>Decrypts what <see cref="Protect"/> made.</summary>
    /// <exception cref="CryptographicException">It was made with another key, for another place, or is damaged.</exception>
    public string Unprotect(string text, string place)
    {
        var overhead = AesGcm.NonceByteSizes.MaxSize + AesGcm.TagByteSizes.MaxSize;
        if (!text.StartsWith(Prefix, StringComparison.Ordinal) || !Base64Url.IsValid(text.AsSpan(Prefix.Length), out var length) || length < overhead)
        {
            throw new CryptographicException("it is not in the form in which the gateway writes keys");
        }

        var (nonce, tag, cipher) = Parts(Base64Url.DecodeFromChars(text.AsSpan(Prefix.Length)));
        var plain = new byte[cipher.Length];
        using var aes = new AesGcm(_key.Value, AesGcm.TagByteSizes.MaxSize);
        try
        {
            aes.Decrypt(nonce.Span, cipher.Span, tag.Span, plain, Encoding.UTF8.GetBytes(place));
        }
        catch (AuthenticationTagMismatchException exception)
        {
            throw new CryptographicException($"it is damaged, or was encrypted with another {CertificateOptions.Section}:EncryptionKey", exception);
        }

        return Encoding.UTF8.GetString(plain);
    }

    private static (Memory<byte> Nonce, Memory<byte> Tag, Memory<byte> Cipher) Parts(byte[] all)
    {
        var nonce = AesGcm.NonceByteSizes.MaxSize;
        var overhead = nonce + AesGcm.TagByteSizes.MaxSize;
        return (all.AsMemory(0, nonce), all.AsMemory(nonce, overhead - nonce), all.AsMemory(overhead));
    }

    private static byte[] Load(CertificateOptions options, StorageOptions storage)
    {
        var text = options.EncryptionKey.Length > 0 ? options.EncryptionKey
            : options.EncryptionKeyFile.Length > 0 ? File.ReadAllText(options.EncryptionKeyFile)
            : storage.Redis.Length == 0 ? LoadOrCreate(Path.Combine(Path.GetFullPath(storage.DataDirectory), "certificates.key"))
            : throw new CryptographicException($"{CertificateOptions.Section}:EncryptionKey is missing");
        return IsKey(text) ? Convert.FromBase64String(text.Trim()) : throw new CryptographicException($"{CertificateOptions.Section}:EncryptionKey is no base64 of {KeyBytes} bytes");
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
