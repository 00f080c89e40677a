using System.Formats.Asn1;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Gateway.Tunnels;

/// <summary>A certificate by who issued it and its number there (RFC 5280 section 4.1.2.2), as hex.</summary>
internal readonly record struct CertificateNumber(string Issuer, string Serial)
{
    public static CertificateNumber Of(X509Certificate2 certificate) => Of(certificate.IssuerName.RawData, certificate.SerialNumberBytes.Span);

    /// <param name="issuer">The issuer's name, DER.</param>
    /// <param name="serial">Big endian, with or without leading zeros.</param>
    public static CertificateNumber Of(ReadOnlySpan<byte> issuer, ReadOnlySpan<byte> serial) => new(Convert.ToHexString(issuer), Convert.ToHexString(serial.TrimStart((byte)0)));
}

/// <summary>
/// A certificate revocation list (RFC 5280 section 5), which the platform can write and cannot read. It is complete and its
/// issuer's own: deltas, indirect lists and parts are told by critical extensions, and refused.
/// </summary>
/// <param name="Revoked">What it revokes.</param>
/// <param name="NextUpdate">When there should be a newer one; null when it does not say.</param>
internal sealed record RevocationList(IReadOnlyList<CertificateNumber> Revoked, DateTimeOffset? NextUpdate)
{
    private const string PemLabel = "X509 CRL";

    /// <summary>Judges a list's signature before more of the list is read.</summary>
    /// <param name="signed">What is signed.</param>
    /// <param name="signature">The signature.</param>
    /// <param name="algorithm">Its algorithm, an OID.</param>
    /// <param name="issuer">The name of who should have signed, DER.</param>
    /// <exception cref="CryptographicException">It does not hold.</exception>
    internal delegate void SignatureCheck(ReadOnlySpan<byte> signed, byte[] signature, string algorithm, byte[] issuer);

    private static readonly Asn1Tag Extensions = new(TagClass.ContextSpecific, 0);

    /// <summary>Reads the lists of a file: PEM, any number of them, or one in DER.</summary>
    /// <param name="file">The file's content.</param>
    /// <param name="authorities">Who may have signed them.</param>
    /// <exception cref="CryptographicException">It is none, or none of the authorities has signed it; the message says which.</exception>
    public static IReadOnlyList<RevocationList> ReadAll(byte[] file, X509Certificate2Collection authorities) =>
        ReadAll(file, (signed, signature, algorithm, issuer) => CheckSignature(signed, signature, algorithm, issuer, authorities));

    /// <summary>The same with another judge of signatures.</summary>
    internal static IReadOnlyList<RevocationList> ReadAll(byte[] file, SignatureCheck check)
    {
        try
        {
            // A SEQUENCE longer than 127 bytes: as text that would be a '0' before something that is no ASCII.
            var isDer = file is [0x30, >= 0x80, ..];
            var lists = isDer ? [Read(file, check)] : ReadPem(System.Text.Encoding.UTF8.GetString(file), check);
            return lists.Count > 0 ? lists : throw new CryptographicException("it holds no revocation list: give PEM (\"BEGIN X509 CRL\") or DER");
        }
        catch (AsnContentException exception)
        {
            throw new CryptographicException($"it is damaged: {exception.Message.TrimEnd('.')}", exception);
        }
    }

    private static List<RevocationList> ReadPem(ReadOnlySpan<char> text, SignatureCheck check)
    {
        var lists = new List<RevocationList>();
        while (PemEncoding.TryFind(text, out var fields))
        {
            if (text[fields.Label].SequenceEqual(PemLabel))
            {
                lists.Add(Read(Convert.FromBase64String(text[fields.Base64Data].ToString()), check));
            }

            text = text[fields.Location.End..];
        }

        return lists;
    }

    private static RevocationList Read(byte[] der, SignatureCheck check)
    {
        var outer = new AsnReader(der, AsnEncodingRules.DER).ReadSequence();
        var signed = outer.PeekEncodedValue();
        var list = outer.ReadSequence();
        var algorithm = outer.ReadSequence().ReadObjectIdentifier();
        var signature = outer.ReadBitString(out _);

        if (list.PeekTag().HasSameClassAndValue(Asn1Tag.Integer))
        {
            list.ReadInteger(); // the version
        }

        list.ReadSequence(); // the algorithm once more
        var issuer = list.ReadEncodedValue().ToArray();
        check(signed.Span, signature, algorithm, issuer);
        ReadTime(list);
        var nextUpdate = list.HasData && IsTime(list.PeekTag()) ? ReadTime(list) : (DateTimeOffset?)null;
        var revoked = new List<CertificateNumber>();
        if (list.HasData && list.PeekTag().HasSameClassAndValue(Asn1Tag.Sequence))
        {
            for (var entries = list.ReadSequence(); entries.HasData;)
            {
                var entry = entries.ReadSequence();
                revoked.Add(CertificateNumber.Of(issuer, entry.ReadIntegerBytes().Span));
                ReadTime(entry);
                if (entry.HasData)
                {
                    RefuseCritical(entry.ReadSequence());
                }
            }
        }

        if (list.HasData)
        {
            RefuseCritical(list.ReadSequence(Extensions).ReadSequence());
        }

        return new RevocationList(revoked, nextUpdate);
    }

    // RFC 5280 section 5.2: a list with a critical extension that one does not know must not be used.
    private static void RefuseCritical(AsnReader extensions)
    {
        while (extensions.HasData)
        {
            var extension = extensions.ReadSequence();
            var oid = extension.ReadObjectIdentifier();
            if (extension.PeekTag().HasSameClassAndValue(Asn1Tag.Boolean) && extension.ReadBoolean())
            {
                throw new CryptographicException($"it is a delta, an indirect list, or only a part (critical extension {oid}): give the authority's complete list");
            }
        }
    }

    private static void CheckSignature(ReadOnlySpan<byte> signed, byte[] signature, string algorithm, byte[] issuer, X509Certificate2Collection authorities)
    {
        var hash = algorithm switch
        {
            "1.2.840.10045.4.3.2" or "1.2.840.113549.1.1.11" => HashAlgorithmName.SHA256,
            "1.2.840.10045.4.3.3" or "1.2.840.113549.1.1.12" => HashAlgorithmName.SHA384,
            "1.2.840.10045.4.3.4" or "1.2.840.113549.1.1.13" => HashAlgorithmName.SHA512,
            _ => throw new CryptographicException($"it is signed by an algorithm that is not taken ({algorithm}): sign it by ECDSA or RSA (PKCS #1) with SHA-256, SHA-384 or SHA-512"),
        };
        foreach (var authority in authorities)
        {
            if (authority.SubjectName.RawData.AsSpan().SequenceEqual(issuer) && IsSigner(authority, signed, signature, hash))
            {
                return;
            }
        }

        throw new CryptographicException($"the list of {new X500DistinguishedName(issuer).Name} is not signed by one of {TunnelOptions.Section}:ClientCaFile: add that authority there, or remove its list");
    }

    private static bool IsSigner(X509Certificate2 authority, ReadOnlySpan<byte> signed, byte[] signature, HashAlgorithmName hash)
    {
        using var ecdsa = authority.GetECDsaPublicKey();
        using var rsa = authority.GetRSAPublicKey();
        return ecdsa?.VerifyData(signed, signature, hash, DSASignatureFormat.Rfc3279DerSequence) ?? rsa?.VerifyData(signed, signature, hash, RSASignaturePadding.Pkcs1) ?? false;
    }

    private static bool IsTime(Asn1Tag tag) => tag.HasSameClassAndValue(Asn1Tag.UtcTime) || tag.HasSameClassAndValue(Asn1Tag.GeneralizedTime);

    private static DateTimeOffset ReadTime(AsnReader reader) => reader.PeekTag().HasSameClassAndValue(Asn1Tag.UtcTime) ? reader.ReadUtcTime() : reader.ReadGeneralizedTime();
}
